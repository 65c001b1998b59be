// Routing, experts, convolutions and scans on the device have the processor's bits.
#include <doctest/doctest.h>

#include <cmath>

#include "cuda/test_device.h"
#include "cuda/twin_programs.h"

using namespace quern;
using namespace quern::test;

namespace {

backends::CompileOptions options_for(std::int64_t rows) {
  backends::CompileOptions options;
  options.max_rows = rows;
  options.max_positions = 300;
  return options;
}

/// Steps of many rows, of few and of one, of several sequences.
void converse(TwinPrograms& twins) {
  TwinSequence one = twins.sequence(), two = twins.sequence();
  for (const std::int64_t rows : {1, 37, 3, 2, 90}) {
    twins.add(&one, rows);
    CHECK(twins.run() == -1);
  }
  twins.add(&two, 2);
  twins.add(&one, 1);
  CHECK(twins.run() == -1);
  twins.add(&one, 3);
  twins.add(&two, 20);
  CHECK(twins.run() == -1);
}

}  // namespace

TEST_CASE("routing has the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  struct Case {
    std::int64_t experts;
    graph::RouteOp op;
    bool bias;
  };
  using graph::Scoring;
  const Case cases[] = {
      {8, {0, 2}, false},
      {60, {0, 4, Scoring::kSoftmax, true, 2.5F}, true},
      {40, {0, 6, Scoring::kSigmoid, true, 1.5F, graph::kNone, 8, 3, true}, true},
      {40, {0, 6, Scoring::kSoftmax, false, 1.0F, graph::kNone, 5, 2, false}, false},
      {3, {0, 3}, false},
  };
  for (const Case& each : cases) {
    CAPTURE(each.experts);
    ColumnGraph g(each.experts);
    graph::RouteOp op = each.op;
    op.x = g.take(each.experts);
    if (each.bias) op.bias = g.vector("bias", each.experts);
    // Equal scores: the first of them is the best. A token whose scores are not numbers.
    for (std::int64_t e = 0; e < each.experts; ++e) {
      g.set(3, e, static_cast<float>(e % 3));
      g.set(4, e, std::nanf(""));
    }
    g.set(5, 1, std::nanf(""));
    TwinPrograms twins(g.finish(g.builder().route(op, "route")), options_for(128));
    for (std::int32_t token = 0; token < 12; ++token) twins.add_token(nullptr, token);
    twins.add(nullptr, 100);
    CHECK(twins.run() == -1);
  }
}

TEST_CASE("experts have the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  constexpr std::int64_t kExperts = 9, kDim = 96, kFfn = 64;
  for (const Encoding encoding : {Encoding::kF32, Encoding::kQ8_0, Encoding::kQR4}) {
    for (const bool limited : {false, true}) {
      CAPTURE(find_encoding(encoding)->name);
      CAPTURE(limited);
      ColumnGraph g(kDim + kExperts);
      const auto x = g.take(kDim);
      const auto route = g.builder().route({g.take(kExperts), 3}, "route");
      graph::ExpertsOp op{x, route, g.matrix("gate", kFfn, kDim, encoding, kExperts),
                          g.matrix("up", kFfn, kDim, encoding, kExperts),
                          g.matrix("down", kDim, kFfn, encoding, kExperts)};
      if (limited) {
        op.limit = 4.0F;
        op.alpha = 1.7F;
        // Adapters' pairs, two of them for one matrix.
        using Of = graph::ExpertPair::Of;
        constexpr std::int64_t kRank = 5;
        const auto pair = [&](Of of, const std::string& name, std::int64_t rows,
                              std::int64_t cols) {
          op.pairs.push_back({of, g.matrix(name + ".a", kRank, cols, Encoding::kF32, kExperts),
                              g.matrix(name + ".b", rows, kRank, Encoding::kF32, kExperts)});
        };
        pair(Of::kGate, "gate0", kFfn, kDim);
        pair(Of::kDown, "down0", kDim, kFfn);
        pair(Of::kGate, "gate1", kFfn, kDim);
        pair(Of::kUp, "up0", kFfn, kDim);
      }
      TwinPrograms twins(g.finish(g.builder().experts(op, "experts")), options_for(128));
      for (const std::int64_t rows : {1, 5, 120, 33, 2}) {
        CAPTURE(rows);
        twins.add(nullptr, rows);
        CHECK(twins.run() == -1);
      }
    }
  }
}

TEST_CASE("causal convolutions have the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  for (const std::int64_t kernel : {2, 4, 7}) {
    CAPTURE(kernel);
    constexpr std::int64_t kCols = 45;
    ColumnGraph g(kCols);
    graph::CausalConvOp op{g.take(kCols), g.vector("weight", kCols * kernel)};
    if (kernel == 4) op.bias = g.vector("bias", kCols);
    op.kernel = kernel;
    TwinPrograms twins(g.finish(g.builder().causal_conv(op, "conv")), options_for(128));
    converse(twins);
  }
}

TEST_CASE("state-space scans have the processor's bits") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  struct Case {
    std::int64_t heads, head_dim, n, groups;
    bool own_rates;
    float least, most;
  };
  for (const Case& each :
       {Case{24, 1, 16, 1, true, 0.0F, 0.0F}, Case{6, 8, 40, 2, false, 0.1F, 0.9F},
        Case{2, 3, 256, 1, false, 0.0F, 0.0F}}) {
    CAPTURE(each.n);
    const std::int64_t x = each.heads * each.head_dim, b = each.groups * each.n;
    ColumnGraph g(x + each.heads + 2 * b);
    graph::ScanOp op{};
    op.x = g.take(x);
    op.dt = g.take(each.heads);
    op.b = g.take(b);
    op.c = g.take(b);
    op.a = g.vector("a", each.own_rates ? each.heads * each.n : each.heads, 0.3F, -1.5F);
    op.skip = g.vector("skip", each.heads);
    if (each.own_rates) op.dt_bias = g.vector("dt_bias", each.heads);
    op.head_dim = each.head_dim;
    op.groups = each.groups;
    op.dt_min = each.least;
    op.dt_max = each.most;
    TwinPrograms twins(g.finish(g.builder().scan(op, "scan")), options_for(128));
    converse(twins);
    TwinSequence one = twins.sequence();
    CHECK_FALSE(one.device->rewinds());
    CHECK(one.device->rewind(1).error().code == ErrorCode::kUnsupported);
    CHECK(one.device->rewind(0).ok());
  }
}

TEST_CASE("a state of too many numbers is an error that says how many") {
  const auto device = backends::cuda::TestDevice::open();
  if (device == nullptr) return;
  constexpr std::int64_t kNumbers = 320;
  ColumnGraph g(2 + 2 * kNumbers);
  graph::ScanOp op{};
  op.x = g.take(1);
  op.dt = g.take(1);
  op.b = g.take(kNumbers);
  op.c = g.take(kNumbers);
  op.a = g.vector("a", 1);
  op.skip = g.vector("skip", 1);
  const auto graph = g.finish(g.builder().scan(op, "scan"));
  const auto program = (*backends::find_backend("cuda"))->compile(graph, options_for(8));
  REQUIRE_FALSE(program.ok());
  CHECK(program.error().code == ErrorCode::kUnsupported);
  CHECK(program.error().describe().find("320") != std::string::npos);
}
