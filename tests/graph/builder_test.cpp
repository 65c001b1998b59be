#include "graph/builder.h"

#include <doctest/doctest.h>

#include <map>

#include "graph/op_table.h"

using namespace quern;
using namespace quern::graph;

namespace {

alignas(64) std::byte g_bytes[64];

/// Weights by name: a matrix of panels, or a vector where rows is 0.
WeightLookup weights_of(std::map<std::string, std::pair<std::int64_t, std::int64_t>> shapes) {
  return [shapes = std::move(shapes)](std::string_view name,
                                      bool optional) -> Result<quant::TensorView> {
    const auto it = shapes.find(std::string(name));
    if (it == shapes.end()) {
      if (optional) return quant::TensorView{};
      return Error(ErrorCode::kMissing, "a tensor is missing").of(std::string(name));
    }
    const bool vector = it->second.first == 0;
    return quant::TensorView{Encoding::kF32,
                             vector ? Layout::kPlain : Layout::kPanel16,
                             1,
                             vector ? 1 : it->second.first,
                             it->second.second,
                             g_bytes};
  };
}

}  // namespace

TEST_CASE("a linear layer has the rows of its weight as columns") {
  GraphBuilder g(weights_of({{"embed", {10, 8}}, {"w", {12, 8}}}), 10);
  const ValueId x = g.embedding(g.matrix("embed", 10, 8));
  const ValueId y = g.linear(x, g.matrix("w", 12, 8), "y");
  g.output("y", y);
  const auto graph = g.finish();
  REQUIRE(graph.ok());
  CHECK(graph->values[static_cast<std::size_t>(y)].cols == 12);
  CHECK(print_graph(*graph) ==
        "%0 embedding [T,8] = embedding embed:f32[10,8]\n"
        "%1 y [T,12] = linear %0 w:f32[12,8]\noutput y %1\n");
}

TEST_CASE("the first error stops the building and names the tensor or the operation") {
  SUBCASE("a missing weight") {
    GraphBuilder g(weights_of({}), 10);
    g.embedding(g.matrix("embed", 10, 8));
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kMissing);
    CHECK(graph.error().field == "embed");
  }
  SUBCASE("a weight of another shape") {
    GraphBuilder g(weights_of({{"embed", {10, 8}}}), 10);
    g.embedding(g.matrix("embed", 10, 9));
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kMismatch);
    CHECK(graph.error().expected == "[10, 9]");
    CHECK(graph.error().found == "[10, 8]");
  }
  SUBCASE("a matrix where a vector belongs") {
    GraphBuilder g(weights_of({{"norm", {1, 8}}}), 10);
    g.vector("norm", 8);
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kMismatch);
  }
  SUBCASE("operands that do not fit") {
    GraphBuilder g(weights_of({{"embed", {10, 8}}, {"w", {12, 9}}}), 10);
    const ValueId x = g.embedding(g.matrix("embed", 10, 8));
    g.linear(x, g.matrix("w", 12, 9), "y");
    g.add(x, x, "z");
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().field == "y, linear: columns of x");
  }
  SUBCASE("heads that do not divide") {
    GraphBuilder g(weights_of({{"embed", {10, 12}}}), 10);
    const ValueId x = g.embedding(g.matrix("embed", 10, 12));
    const StateId state = g.kv_state({2, 4, 4, 0});
    g.attention({x, x, x, state, 3, 1.0F}, "attention");
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kMismatch);
  }
  SUBCASE("attention to a state that nothing has filled") {
    GraphBuilder g(weights_of({{"embed", {10, 8}}}), 10);
    const ValueId x = g.embedding(g.matrix("embed", 10, 8));
    const StateId state = g.kv_state({2, 4, 4, 0});
    g.attention({x, kNone, kNone, state, 2, 1.0F}, "attention");
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kMismatch);
    CHECK(graph.error().field.find("fills the state") != std::string::npos);
  }
  SUBCASE("columns beyond the last") {
    GraphBuilder g(weights_of({{"embed", {10, 8}}}), 10);
    g.columns(g.embedding(g.matrix("embed", 10, 8)), 5, 4, "part");
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().expected == "8");
    CHECK(graph.error().found == "9");
  }
  SUBCASE("a mix of more values than there are factors") {
    GraphBuilder g(weights_of({{"embed", {10, 8}}, {"w", {3, 8}}}), 10);
    const ValueId x = g.embedding(g.matrix("embed", 10, 8));
    const ValueId factors = g.linear(x, g.matrix("w", 3, 8), "factors");
    g.mix({x, {x, x}, factors, 1}, "fits");
    g.mix({x, {x, x}, factors, 2}, "mixed");
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().field == "mixed, mix: factors");
  }
  SUBCASE("a part that a weight has not") {
    GraphBuilder g(weights_of({{"w", {16, 8}}}), 10);
    CHECK(g.matrix_part("w", 0, 1, 16, 8) != kNone);
    CHECK(g.matrix_part("w", 1, 1, 16, 8) == kNone);
    const auto graph = g.finish();
    REQUIRE(!graph.ok());
    CHECK(graph.error().code == ErrorCode::kOutOfRange);
  }
}

TEST_CASE("an absent optional weight is none") {
  GraphBuilder g(weights_of({}), 10);
  CHECK(g.vector("bias", 8, true) == kNone);
  CHECK(g.finish().ok());
}

TEST_CASE("every op has a row in the table") {
  CHECK(op_table().size() == std::variant_size_v<Op>);
  for (const OpInfo& info : op_table()) {
    const bool complete = info.name != nullptr && info.inputs != nullptr && info.infer != nullptr;
    CHECK(complete);
  }
}
