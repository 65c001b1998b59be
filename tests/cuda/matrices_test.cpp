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
