// Products and lookups of every encoding on the device have the processor's bits, in shapes that
// leave panels, tiles and groups of k ragged.
#include <doctest/doctest.h>

#include "cuda/test_device.h"
#include "cuda/twin_programs.h"

using namespace quern;
using namespace quern::test;

namespace {

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{16, 32}, {40, 320}, {129, 76}, {7, 1088}};
constexpr std::int64_t kSteps[] = {1, 3, 8, 9, 20, 150};

/// Steps of few and of many rows.
void walk(std::shared_ptr<const graph::Graph> graph) {
  backends::CompileOptions options;
  options.max_rows = options.max_positions = 160;
  TwinPrograms twins(std::move(graph), options);
  for (const std::int64_t rows : kSteps) {
    CAPTURE(rows);
    twins.add(nullptr, rows);
    CHECK(twins.run() == -1);
  }
}

template <class Visit>
void for_each_encoding(Visit visit) {
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    if (!info->weight) continue;
    CAPTURE(info->name);
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.rows);
      CAPTURE(shape.cols);
      visit(info->id, shape);
    }
  }
}

}  // namespace

TEST_CASE("products of every encoding have the processor's bits") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  for_each_encoding([](Encoding encoding, const Shape& shape) {
    ColumnGraph g(shape.cols + shape.rows);
    const graph::ValueId x = g.take(shape.cols), residual = g.take(shape.rows);
    const graph::WeightId weight = g.matrix("w", shape.rows, shape.cols, encoding);
    const graph::ValueId plain = g.builder().linear(x, weight, "plain");
    walk(g.finish(g.builder().linear(x, weight, "out", g.vector("b", shape.rows),
                                     g.builder().add(plain, residual, "sum"))));
  });
}

TEST_CASE("lookups of every encoding have the processor's bits") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  for_each_encoding([](Encoding encoding, const Shape& shape) {
    ColumnGraph g(1);
    const graph::WeightId table = g.matrix("t", ColumnGraph::kVocab, shape.cols, encoding);
    walk(g.finish(g.builder().embedding(table, 0.5F)));
  });
}

TEST_CASE("taught tokens and the rows of sequences have the processor's bits") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  const auto check = [](std::shared_ptr<const graph::Graph> graph) {
    backends::CompileOptions options;
    options.max_rows = options.max_outputs = options.max_positions = 160;
    TwinPrograms twins(std::move(graph), options);
    for (const std::int64_t rows : {1, 5, 78}) {
      twins.add(nullptr, rows);
      twins.add(nullptr, 2);
      twins.add(nullptr, rows);
      CHECK(twins.run() == -1);
    }
  };
  ColumnGraph taught(1);
  const graph::WeightId table = taught.matrix("t", ColumnGraph::kVocab, 70);
  check(taught.finish(taught.builder().embedding(table, 2.0F, 4)));
  for (const graph::Pooling pooling :
       {graph::Pooling::kFirst, graph::Pooling::kMean, graph::Pooling::kLast}) {
    ColumnGraph pooled(70);
    check(pooled.finish(pooled.builder().pool(pooled.take(70), pooling, "pooled")));
  }
}

TEST_CASE("a step may have more rows than a grid has blocks in its second direction") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  constexpr std::int64_t kRows = 1 << 16;
  ColumnGraph g(32);
  const graph::ValueId x = g.take(32);
  const graph::WeightId coded = g.matrix("coded", 16, 32, Encoding::kQ8_0);
  const graph::WeightId plain = g.matrix("plain", 8, 16);
  const graph::ValueId low = g.builder().linear(x, coded, "low");
  const graph::ValueId normed = g.builder().rms_norm(low, graph::kNone, 1e-5F, "normed");
  const auto graph = g.finish(g.builder().linear(normed, plain, "out"));
  backends::CompileOptions options;
  options.max_rows = options.max_positions = kRows;
  TwinPrograms twins(graph, options);
  twins.add(nullptr, kRows);
  CHECK(twins.run() == -1);
}
