// The device against the processor: the same bits, for every golden family, every encoding of
// weights and every kind of cache. The numerics law (lib/kernels/kernel_table.h) says the order of
// every sum, so no tolerance is needed.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>

#include "backends/split_backend.h"
#include "cuda/test_device.h"
#include "encoders/encoder_runner.h"
#include "graph/split.h"
#include "models/golden_model.h"
#include "quant/registry.h"
#include "support/must.h"

using namespace quern;
using namespace quern::test;
using quern::testing::must;

namespace {

const std::string kModels = std::string(QUERN_GOLDENS_DIR) + "/models/";

/// The first place where two results differ, NaN being equal to NaN; −1: none.
std::ptrdiff_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return static_cast<std::ptrdiff_t>(i);
  }
  return -1;
}

bool has_device() { return backends::cuda::TestDevice::open() != nullptr; }

std::vector<std::string> names_of(const std::set<std::string>& kinds) {
  std::vector<std::string> names = goldens(kinds);
  if (names.empty() && std::getenv("CI") != nullptr) FAIL("no goldens in " << kModels);
  return names;
}

Runner runner_on(const GoldenModel& model, const std::string& backend, KvType kv = KvType::kAuto) {
  Runner::Options options;
  options.backend = backend;
  options.kv = kv;
  return must(Runner::create(model, options));
}

/// Both backends over the same ids: a prompt in steps of `chunk` rows, then row by row.
void compare(const GoldenModel& model, const std::vector<std::int32_t>& ids, std::int64_t chunk,
             KvType kv = KvType::kAuto) {
  CAPTURE(chunk);
  Runner host = runner_on(model, "cpu", kv), device = runner_on(model, "cuda", kv);
  const std::vector<std::int32_t> more(ids.begin(), ids.begin() + 3);
  CHECK(first_difference(must(host.step(ids, chunk)), must(device.step(ids, chunk))) == -1);
  CHECK(first_difference(must(host.step(more, 1)), must(device.step(more, 1))) == -1);
}

}  // namespace

TEST_CASE("every golden decoder has the processor's bits") {
  if (!has_device()) return;
  for (const std::string& name : names_of({"decoder"})) {
    CAPTURE(name);
    const auto golden =
        must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors"));
    const auto model = must(GoldenModel::load(kModels + name, "config.json"));
    compare(model, golden_ids(golden, "input_ids"), 64);
  }
}

TEST_CASE("quantized decoders have the processor's bits") {
  if (!has_device()) return;
  for (const std::string& name : names_of({"decoder"})) {
    for (const Encoding encoding : {Encoding::kQ8_0, Encoding::kQR4}) {
      CAPTURE(name);
      CAPTURE(find_encoding(encoding)->name);
      const auto golden =
          must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors"));
      const auto model = must(GoldenModel::load(kModels + name, "config.json", encoding));
      compare(model, golden_ids(golden, "short_input_ids"), 7);
    }
  }
}

TEST_CASE("every encoding of weights has the processor's bits") {
  if (!has_device()) return;
  const auto golden = must(formats::SafetensorsFile::open(kModels + "llama3/golden.safetensors"));
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    if (!info->weight || quant::find_ops(info->id)->quantize_panel == nullptr) continue;
    CAPTURE(info->name);
    const auto model = GoldenModel::load(kModels + "llama3", "config.json", info->id);
    if (!model.ok()) continue;
    compare(*model, golden_ids(golden, "input_ids"), 20);
  }
}

TEST_CASE("every kind of cache has the processor's bits") {
  if (!has_device()) return;
  for (const std::string name : {"llama3", "gemma2", "gpt_oss", "bloom", "deepseek_v2"}) {
    const auto golden =
        must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors"));
    const auto model = must(GoldenModel::load(kModels + name, "config.json"));
    for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
      CAPTURE(name);
      CAPTURE(static_cast<int>(kv));
      compare(model, golden_ids(golden, "input_ids"), 13, kv);
    }
  }
}

TEST_CASE("every golden encoder has the processor's bits") {
  if (!has_device()) return;
  for (const std::string& name : names_of({"encoder", "masked_lm", "seq_cls"})) {
    CAPTURE(name);
    const auto golden =
        must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors"));
    const std::vector<Text> texts = golden_texts(golden);
    const auto model = must(GoldenModel::load(kModels + name, "config.json"));
    auto host = must(EncoderRunner::create(model, 1));
    auto device = must(EncoderRunner::create(model, 1, "cuda"));
    REQUIRE(host.run(texts).ok());
    const Status ran = device.run(texts);
    if (!ran.ok()) FAIL(ran.error().describe());
    for (const graph::Output& output : model.graph()->outputs) {
      CAPTURE(output.name);
      for (std::size_t i = 0; i < texts.size(); ++i)
        CHECK(first_difference(host.output(output.name, i), device.output(output.name, i)) == -1);
    }
  }
}

TEST_CASE("a model cut between processor and device has the bits of either") {
  if (!has_device()) return;
  const backends::Backend* host = must(backends::find_backend("cpu"));
  const backends::Backend* device = must(backends::find_backend("cuda"));
  for (const std::string name : {"llama3", "gemma2", "granitemoehybrid", "deepseek_v2"}) {
    CAPTURE(name);
    const auto golden =
        must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors"));
    const auto model = must(GoldenModel::load(kModels + name, "config.json"));
    const std::vector<std::int32_t> ids = golden_ids(golden, "input_ids");
    Runner whole = runner_on(model, "cpu");
    const std::vector<float> expected = must(whole.step(ids, 9));
    for (int layers = 1; layers < graph::count_layers(*model.graph()); ++layers) {
      CAPTURE(layers);
      const backends::SplitBackend both(*host, *device, layers);
      Runner cut = must(Runner::create(model, {}, both));
      CHECK(first_difference(expected, must(cut.step(ids, 9))) == -1);
    }
  }
}

TEST_CASE("a cut that the model does not allow is an error") {
  const auto model = must(GoldenModel::load(kModels + "gemma3n_text", "config.json"));
  const int last = graph::count_layers(*model.graph()) - 1;
  CHECK(graph::split_graph(*model.graph(), last).error().code == ErrorCode::kUnsupported);
  CHECK(graph::split_graph(*model.graph(), last + 1).error().code == ErrorCode::kOutOfRange);
}
