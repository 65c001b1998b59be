// Of every family: a tensor that is missing, one that is strange, one of another shape, an unknown
// class, each told in one sentence before anything is written; and weights in bf16 as in f32.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "models/architecture.h"
#include "quern/encoder.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

/// The folders of all checkpoints whose class is in the registry.
std::vector<std::string> every_golden() {
  std::vector<std::string> folders;
  const auto any = golden("llama2");
  if (!any) return folders;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(*any).parent_path())) {
    const auto about = formats::read_json_file((entry.path() / "golden.json").string());
    if (!about.ok() || (*about)["kind"].string() == "adapter") continue;
    if (models::find_by_hf_class((*about)["model_class"].string()) != nullptr)
      folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// A golden in a folder of its own, whose weights can be changed in place.
struct Copy {
  TempFolder folder;
  std::string weights;

  explicit Copy(const std::string& source) {
    for (const auto& entry : std::filesystem::directory_iterator(source)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("golden") || name == "model.safetensors") continue;
      std::filesystem::copy(entry.path(), folder.file(name));
    }
    weights = read_bytes(source + "/model.safetensors");
  }
  /// Writes the weights with the first `from` in their header replaced by `to`, which is as long.
  void write_with(const std::string& from, const std::string& to) const {
    std::string changed = weights;
    const std::size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    REQUIRE(from.size() == to.size());
    write_bytes(folder.file("model.safetensors"), changed.replace(at, from.size(), to));
  }
  Result<ConvertPlan> planned(bool ignore_unused = false) const {
    ConvertOptions options = plain_options();
    options.ignore_unused = ignore_unused;
    return plan(folder.path(), "x.quern", options);
  }
};

/// Whether a warning names `text`.
bool told(const ConvertPlan& plan, const std::string& text) {
  return std::any_of(plan.warnings.begin(), plan.warnings.end(), [&](const std::string& warning) {
    return warning.find(text) != std::string::npos;
  });
}

std::string in_quotes(const std::string& name) { return "\"" + name + "\""; }

constexpr std::size_t kEvery = 3;  // Of so many tensors one is tried.

}  // namespace

TEST_CASE("a tensor under another name is missed, or refused as unused, in every family") {
  for (const std::string& source : every_golden()) {
    CAPTURE(source);
    const Copy copy(source);
    const auto file = must(formats::SafetensorsFile::open(source + "/model.safetensors"));
    std::size_t missed = 0, number = 0;
    for (const formats::SafeTensor& tensor : file.tensors()) {
      if (number++ % kEvery != 0) continue;
      CAPTURE(tensor.name);
      std::string other = tensor.name;
      other.back() = other.back() == 'X' ? 'Y' : 'X';
      copy.write_with(in_quotes(tensor.name), in_quotes(other));
      const auto made = copy.planned();
      REQUIRE_FALSE(made.ok());
      if (made.error().code == ErrorCode::kUnsupported) {  // A bias that may be left out.
        CHECK(made.error().message.find(in_quotes(other)) != std::string::npos);
        CHECK(told(must(copy.planned(true)), other));
        continue;
      }
      ++missed;
      CHECK(made.error().code == ErrorCode::kMissing);
      CHECK_FALSE(made.error().field.empty());
      CHECK_FALSE(made.error().expected.empty());
    }
    CHECK(missed * 3 > number / kEvery);
  }
}

TEST_CASE("a tensor of another shape is told with both shapes, in every family") {
  for (const std::string& source : every_golden()) {
    CAPTURE(source);
    const Copy copy(source);
    const auto file = must(formats::SafetensorsFile::open(source + "/model.safetensors"));
    std::size_t tried = 0;
    for (const formats::SafeTensor& tensor : file.tensors()) {
      if (tensor.shape.size() != 2 || tensor.shape[0] == tensor.shape[1]) continue;
      if (tensor.shape[0] == 1 || tensor.shape[1] == 1) continue;
      if (tried++ % kEvery != 0) continue;
      CAPTURE(tensor.name);
      const std::size_t at = copy.weights.find(in_quotes(tensor.name));
      const std::size_t shape = copy.weights.find("\"shape\":[", at);
      const std::size_t end = copy.weights.find(']', shape);
      const std::string entry = copy.weights.substr(at, end - at);
      const auto number = [&](std::size_t i) { return std::to_string(tensor.shape[i]); };
      const std::string tail = number(0) + "," + number(1);
      REQUIRE(entry.ends_with(tail));
      copy.write_with(entry,
                      entry.substr(0, entry.size() - tail.size()) + number(1) + "," + number(0));
      const auto made = copy.planned();
      REQUIRE_FALSE(made.ok());
      CHECK(made.error().code == ErrorCode::kMismatch);
      CHECK(made.error().field.find(tensor.name.substr(0, 40)) != std::string::npos);
      CHECK_FALSE(made.error().expected.empty());
      CHECK(made.error().found.find(number(1)) != std::string::npos);
    }
    CHECK(tried > 0);
  }
}

TEST_CASE("an unknown class is refused by name, whatever else the checkpoint holds") {
  for (const std::string& source : every_golden()) {
    CAPTURE(source);
    const Copy copy(source);
    write_bytes(copy.folder.file("model.safetensors"), copy.weights);
    std::string config = read_bytes(source + "/config.json");
    const auto about = must(formats::read_json_file(source + "/golden.json"));
    const std::string known = in_quotes(about["model_class"].string());
    const std::size_t at = config.find(known);
    REQUIRE(at != std::string::npos);
    config.replace(at, known.size(), "\"UnheardOfForCausalLM\"");
    std::filesystem::permissions(copy.folder.file("config.json"),
                                 std::filesystem::perms::owner_all);
    write_bytes(copy.folder.file("config.json"), config);
    const auto made = copy.planned();
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::kUnsupported);
    CHECK(made.error().found.find("UnheardOf") != std::string::npos);
  }
}

namespace {

/// All that a model says about a few ids: states and logits, whatever its kind.
std::vector<float> outputs_of(const Model& model) {
  const std::vector<TokenId> ids = {3, 10, 17, 24, 31, 38, 5, 12};
  std::vector<float> all;
  if (model.is_encoder()) {
    Encoder encoder = must(Encoder::create(model));
    const EncoderInput input{ids, {}};
    const Status ran = encoder.run({&input, 1}, [&](std::size_t, const EncoderOutput& output) {
      all.insert(all.end(), output.hidden.begin(), output.hidden.end());
      all.insert(all.end(), output.logits.begin(), output.logits.end());
      return Status();
    });
    REQUIRE(ran.ok());
    return all;
  }
  if (!model.is_encoder_decoder()) return logits_of(model, ids);
  SessionOptions options;
  options.output_rows = 4;
  Session session = must(Session::create(model, options));
  const auto states = must(session.read_source(ids));
  all.assign(states.begin(), states.end());
  const std::vector<TokenId> reply = {0, 9, 4};
  const Status ran = session.step_all(reply, [&](std::int64_t, std::span<const float> rows) {
    all.insert(all.end(), rows.begin(), rows.end());
    return Status();
  });
  REQUIRE(ran.ok());
  return all;
}

double deviation(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * sum / n);
}

}  // namespace

TEST_CASE("bf16 weights say what the same weights in f32 say, in every family") {
  for (const std::string& source : every_golden()) {
    CAPTURE(source);
    const TempFolder folder;
    must(convert(source, folder.file("half.quern"), plain_options("bf16")));
    must(convert(folder.file("half.quern"), folder.file("whole.quern"), plain_options("f32")));
    const auto half = outputs_of(must(Model::open(folder.file("half.quern"))));
    const auto whole = outputs_of(must(Model::open(folder.file("whole.quern"))));
    CHECK(largest_difference(half, whole) <= 2e-4 * deviation(whole));
  }
}

}  // namespace quern::convert::test
