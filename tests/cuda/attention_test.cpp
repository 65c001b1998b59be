// Attention on the device has the processor's bits: every kind of cache, shape and way of cutting a
// conversation into steps.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "cuda/test_device.h"
#include "cuda/twin_programs.h"

using namespace quern;
using namespace quern::test;

namespace {

constexpr KvType kAllKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8,
                                  KvType::kQ4};

struct Shape {
  const char* what;
  std::int64_t heads, kv_heads, head_dim, value_dim, window = 0;
  float softcap = 0.0F;
  bool alibi = false, sinks = false, bias = false;
};

std::shared_ptr<const graph::Graph> attention_graph(ColumnGraph& g, const Shape& shape) {
  graph::AttentionOp op{};
  op.q = g.take(shape.heads * shape.head_dim);
  op.k = g.take(shape.kv_heads * shape.head_dim);
  op.v = g.take(shape.kv_heads * shape.value_dim);
  op.state = g.builder().kv_state({shape.kv_heads, shape.head_dim, shape.value_dim, shape.window});
  op.n_heads = shape.heads;
  op.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
  op.softcap = shape.softcap;
  for (std::int64_t h = 0; shape.alibi && h < shape.heads; ++h)
    op.alibi_slopes.push_back(std::ldexp(0.7F, -static_cast<int>(h)));
  if (shape.sinks) op.sinks = g.vector("sinks", shape.heads);
  if (shape.bias) op.bias = {g.matrix("bias", 32, shape.heads), 32, 128, false};
  return g.finish(g.builder().attention(op, "attention"));
}

std::int64_t columns_of(const Shape& shape) {
  return (shape.heads + shape.kv_heads) * shape.head_dim + shape.kv_heads * shape.value_dim;
}

backends::CompileOptions options_for(std::int64_t rows, std::int64_t positions, KvType kv) {
  backends::CompileOptions options;
  options.max_rows = rows;
  options.max_positions = positions;
  options.kv = kv;
  return options;
}

/// A long prompt in uneven pieces, single rows, then several sequences in one step.
void converse(TwinPrograms& twins) {
  TwinSequence one = twins.sequence(), two = twins.sequence(), three = twins.sequence();
  for (const std::int64_t rows : {1, 70, 130, 61, 5, 1, 1, 1, 40}) {
    CAPTURE(one.position);
    twins.add(&one, rows);
    REQUIRE(twins.run() == -1);
  }
  twins.add(&one, 1);
  twins.add(&two, 33);
  twins.add(&three, 1);
  REQUIRE(twins.run() == -1);
  twins.add(&two, 1);
  twins.add(&one, 1);
  twins.add(&three, 2);
  REQUIRE(twins.run() == -1);
}

}  // namespace

TEST_CASE("attention of every shape and kind of cache has the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  const Shape shapes[] = {
      {"plain", 4, 4, 16, 16},
      {"grouped", 6, 2, 8, 8},
      {"one head, odd sizes", 1, 1, 5, 7},
      {"wider values", 4, 2, 24, 40},
      {"more heads than a tile", 40, 2, 12, 12},
      {"window", 4, 2, 16, 16, 70},
      {"window of one", 2, 1, 8, 8, 1},
      {"soft cap", 4, 2, 16, 16, 0, 2.5F},
      {"ALiBi", 4, 2, 16, 16, 0, 0.0F, true},
      {"sinks", 4, 2, 16, 16, 0, 0.0F, false, true},
      {"sinks in a window", 4, 2, 16, 16, 33, 0.0F, false, true},
      {"distances", 4, 2, 16, 16, 0, 0.0F, false, false, true},
      {"all together", 4, 2, 16, 16, 90, 3.0F, true, true, true},
      {"many heads", 24, 24, 8, 4, 0, 0.0F, false, true},
      {"many heads, all together", 30, 30, 4, 8, 90, 3.0F, true, true, true},
      {"wide heads", 2, 1, 256, 256},
      {"latent", 20, 1, 576, 512},
  };
  for (const Shape& shape : shapes) {
    CAPTURE(shape.what);
    ColumnGraph g(columns_of(shape));
    const auto graph = attention_graph(g, shape);
    for (const KvType kv : kAllKvTypes) {
      CAPTURE(static_cast<int>(kv));
      TwinPrograms twins(graph, options_for(160, 400, kv));
      converse(twins);
    }
  }
}

TEST_CASE("what a row does not see changes nothing, even if it is infinite or not a number") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  const Shape shape{"grouped", 4, 2, 16, 16};
  constexpr std::int32_t kWrong = ColumnGraph::kVocab - 1;
  for (const float wrong :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    ColumnGraph g(columns_of(shape));
    for (std::int64_t c = 4 * 16; c < columns_of(shape); c += 5) g.set(kWrong, c, wrong);
    const auto graph = attention_graph(g, shape);
    for (const KvType kv : kAllKvTypes) {
      CAPTURE(static_cast<int>(kv));
      TwinPrograms twins(graph, options_for(64, 200, kv));
      TwinSequence sequence = twins.sequence();
      twins.add(&sequence, 30);
      twins.add_token(&sequence, kWrong);
      twins.add(&sequence, 9);
      CHECK(twins.run() == -1);
      const std::size_t row = twins.output().size() / 40;
      std::size_t seen = 0;
      for (std::size_t i = 0; i < 30 * row; ++i) CHECK(std::isfinite(twins.output()[i]));
      for (std::size_t i = 30 * row; i < 40 * row; ++i)
        seen += std::isfinite(twins.output()[i]) ? 0 : 1;
      CHECK(seen > 0);
    }
  }
}

TEST_CASE("a sequence goes back, and is copied into another of another capacity") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  const Shape shape{"grouped", 4, 2, 16, 16};
  ColumnGraph g(columns_of(shape));
  const auto graph = attention_graph(g, shape);
  TwinPrograms twins(graph, options_for(100, 300, KvType::kF16));
  TwinSequence one = twins.sequence();
  twins.add(&one, 90);
  REQUIRE(twins.run() == -1);
  REQUIRE(one.host->rewind(20).ok());
  REQUIRE(one.device->rewind(20).ok());
  one.position = 20;
  twins.add(&one, 60);
  CHECK(twins.run() == -1);
  TwinSequence two = twins.sequence(0, 100);
  REQUIRE(two.host->copy_from(*one.host, 70).ok());
  REQUIRE(two.device->copy_from(*one.device, 70).ok());
  two.position = 70;
  twins.add(&two, 8);
  twins.add(&one, 8);
  CHECK(twins.run() == -1);
  CHECK(two.device->copy_from(*one.device, 1000).error().code == ErrorCode::kInvalidArgument);
  CHECK(one.device->rewind(-1).error().code == ErrorCode::kOutOfRange);
  CHECK(one.device->bytes() == one.host->bytes());
}

TEST_CASE("attention to a source has the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  const graph::KvState state{2, 16, 24, 0, true};
  ColumnGraph reader(2 * 16 + 2 * 24);
  reader.builder().kv_state(state);
  const auto keys = reader.take(2 * 16), values = reader.take(2 * 24);
  reader.builder().store_source({keys, values, 0}, "store");
  const auto source = reader.finish(keys);
  ColumnGraph writer(4 * 16);
  writer.builder().kv_state(state);
  const auto graph =
      writer.finish(writer.builder().cross_attention({writer.take(4 * 16), 0, 4, 0.25F}, "cross"));
  for (const KvType kv : kAllKvTypes) {
    CAPTURE(static_cast<int>(kv));
    backends::CompileOptions options = options_for(350, 64, kv);
    options.max_source = 350;
    TwinPrograms sources(source, options), twins(graph, options);
    for (const std::int64_t rows : {1, 100, 333}) {
      CAPTURE(rows);
      TwinSequence one = twins.sequence(350), two = twins.sequence(350);
      sources.add(&one, rows);
      REQUIRE(sources.run() == -1);
      one.host->set_source_rows(rows);
      one.device->set_source_rows(rows);
      one.position = 0;
      REQUIRE(two.host->copy_from(*one.host, 0).ok());
      REQUIRE(two.device->copy_from(*one.device, 0).ok());
      for (const std::int64_t n : {1, 20, 2}) {
        twins.add(&one, n);
        twins.add(&two, 1);
        CHECK(twins.run() == -1);
      }
    }
  }
}

TEST_CASE("attention among the rows of each sequence has the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  enum class Extra { kNone, kCausal, kGrouped, kDistances, kKeys, kBoth };
  for (const std::int64_t window : {0, 9}) {
    for (const Extra extra : {Extra::kNone, Extra::kCausal, Extra::kGrouped, Extra::kDistances,
                              Extra::kKeys, Extra::kBoth}) {
      CAPTURE(window);
      CAPTURE(static_cast<int>(extra));
      constexpr std::int64_t kHeads = 3, kDim = 20, kSpan = 40;
      const std::int64_t kv_columns = (extra == Extra::kGrouped ? 1 : kHeads) * kDim;
      ColumnGraph g(kHeads * kDim + 2 * kv_columns);
      graph::EncoderAttentionOp op{
          g.take(kHeads * kDim), g.take(kv_columns), g.take(kv_columns), kHeads, 0.2F, window};
      op.causal = extra == Extra::kCausal;
      if (extra == Extra::kDistances) op.bias = {g.matrix("bias", 32, kHeads), 32, 128, true};
      const auto positions = [&](const char* name) {
        return g.builder().constant_rows(g.matrix(name, 2 * kSpan, kHeads * kDim), name);
      };
      if (extra == Extra::kKeys) op.disentangled = {positions("keys"), graph::kNone, 0, 0};
      if (extra == Extra::kBoth)
        op.disentangled = {positions("keys"), positions("queries"), 2 * kSpan, 128};
      TwinPrograms twins(g.finish(g.builder().encoder_attention(op, "attention")),
                         options_for(400, 400, KvType::kAuto));
      for (const std::int64_t first : {300, 1, 65}) {
        twins.add(nullptr, first);
        twins.add(nullptr, 17);
        twins.add(nullptr, 1);
        CHECK(twins.run() == -1);
      }
    }
  }
}

TEST_CASE("heads too wide for a block are an error that says how wide they are") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  const Shape shape{"too wide", 1, 1, 16, 2048};
  ColumnGraph g(columns_of(shape));
  const auto graph = attention_graph(g, shape);
  backends::CompileOptions options = options_for(8, 64, KvType::kF16);
  const auto program = (*backends::find_backend("cuda"))->compile(graph, options);
  REQUIRE_FALSE(program.ok());
  CHECK(program.error().code == ErrorCode::kUnsupported);
  CHECK(program.error().describe().find("value_dim 2048") != std::string::npos);
}
