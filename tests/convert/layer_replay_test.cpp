// While one matrix changes, evaluating what depends on it gives the bits of evaluating everything.
#include "convert/layer_replay.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "convert/model_output.h"
#include "convert/output_distance.h"
#include "convert/tensor_plan.h"
#include "fixtures.h"
#include "quern/evaluation.h"
#include "runtime/model_state.h"

namespace quern::convert::test {
namespace {

/// A model in memory that can be written to.
struct SoftModel {
  ModelPlan plan;
  std::shared_ptr<formats::MemoryImage> image;
  std::optional<Model> model;
  SourcePointer source;

  explicit SoftModel(const std::string& path) : source(must(open_source(path))) {
    plan = must(make_plan(*source, OutputFormat::kQuern,
                          {.keep = false, .target = Encoding::kQR8, .chosen = {}}));
    const std::shared_ptr<Executor> executor = must(make_executor(1));
    image =
        std::make_shared<formats::MemoryImage>(must(write_into_memory(*source, plan, *executor)));
    ModelOptions options;
    options.executor = executor;
    model.emplace(must(Model::from_memory(image, std::as_const(*image).bytes(), "soft", options)));
  }

  /// Turns bits of a matrix, or back.
  void disturb(const std::string& name) {
    for (const TensorInfo& tensor : model->tensors()) {
      if (tensor.name != name) continue;
      const std::span<std::byte> bytes = image->bytes().subspan(tensor.offset, tensor.bytes);
      for (std::size_t i = 100; i < bytes.size(); i += 97) bytes[i] ^= std::byte{4};
    }
  }
};

std::vector<float> whole(const Model& model, const TokenWindows& windows) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(windows.front().size());
  Session session = must(Session::create(model, options));
  std::vector<float> all;
  for (const auto& window : windows) {
    const Status read =
        evaluate_window(session, window, [&](std::size_t, std::span<const float> rows) -> Status {
          all.insert(all.end(), rows.begin(), rows.end());
          return {};
        });
    REQUIRE(read.ok());
  }
  return all;
}

TEST_CASE("a replay of the layers from a matrix on gives the bits of the whole model") {
  for (const char* name : {"llama3", "gemma3_text", "gemma3n_text", "gpt2", "mixtral", "mamba",
                           "lfm2", "deepseek_v2", "granitemoehybrid"}) {
    CAPTURE(name);
    const auto path = golden(name);
    if (!path) return;
    SoftModel soft(*path);
    const Model& model = *soft.model;
    TokenWindows windows{{1, 5, 9, 2, 7, 7, 3, 11, 4, 6}, {8, 1, 2, 3, 9, 5, 6, 2, 4, 1}};
    std::size_t replayed = 0;
    for (const TensorJob& job : soft.plan.jobs) {
      if (!job.quantizable) continue;
      CAPTURE(job.name);
      const std::int32_t layer = first_layer_of(*model.state().graph, job.name);
      if (layer == 0) continue;
      auto replay = LayerReplay::create(model, windows, layer, KvType::kAuto);
      if (!replay.ok()) {
        CHECK(replay.error().code == ErrorCode::kUnsupported);
        continue;
      }
      ++replayed;
      for (int times = 0; times < 2; ++times) {
        soft.disturb(job.name);  // The second time it is undone.
        std::vector<float> found;
        REQUIRE(replay
                    ->visit([&](std::span<const float> row) {
                      found.insert(found.end(), row.begin(), row.end());
                    })
                    .ok());
        CHECK(found == whole(model, windows));
      }
    }
    if (std::string_view(name) != "gemma3n_text") CHECK(replayed > 0);
  }
}

TEST_CASE("distances are the same whether or not it is said what changes") {
  const auto path = golden("llama3");
  if (!path) return;
  SoftModel soft(*path);
  const TokenWindows windows{{1, 5, 9, 2, 7, 7, 3, 11, 4, 6}};
  OutputDistance plain = must(OutputDistance::create(*soft.model, windows));
  OutputDistance told = must(OutputDistance::create(*soft.model, windows));
  for (const TensorJob& job : soft.plan.jobs) {
    if (!job.quantizable) continue;
    CAPTURE(job.name);
    REQUIRE(told.expect_change_of(job.name).ok());
    CHECK(must(told.measure()) == must(plain.measure()));
    soft.disturb(job.name);
    const double moved = must(plain.measure());
    CHECK(moved > 0);
    CHECK(must(told.measure()) == moved);
    soft.disturb(job.name);
  }
}

}  // namespace
}  // namespace quern::convert::test
