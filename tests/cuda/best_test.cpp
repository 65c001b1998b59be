// What a device says of a step's best logits is what sorting all of them gives.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cuda/test_device.h"
#include "cuda/twin_programs.h"

using namespace quern;
using namespace quern::test;
using base::RankedLogit;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A graph whose logits are an embedding's row of `vocab` random numbers, many of them alike.
struct LogitsGraph {
  explicit LogitsGraph(std::int64_t vocab) : columns(vocab) {
    const graph::ValueId all = columns.take(vocab);
    graph::GraphBuilder& g = columns.builder();
    const graph::ValueId logits = g.select_rows(all, "outputs");
    g.output("logits", logits);
    // What is made afterwards takes the memory of what is no longer needed.
    g.output("other", g.scale(g.scale(logits, 2.0F, "twice"), 2.0F, "other"));
    std::mt19937 random(static_cast<std::uint32_t>(vocab));
    for (std::int64_t i = 0; i < vocab; ++i) {
      const auto number = static_cast<float>(static_cast<int>(random() % 4001U) - 2000);
      columns.set(1, i, number / 64.0F);
      columns.set(2, i, i % 3 == 0 ? 0.0F : i % 3 == 1 ? -0.0F : -1.0F);
      columns.set(3, i, i == vocab / 2 ? -3.0F : -kInfinity);
    }
    columns.set(4, vocab - 1, kInfinity);
    columns.set(4, vocab / 3, std::nanf(""));
    graph = columns.finish(graph::kNone);
  }
  ColumnGraph columns;
  std::shared_ptr<const graph::Graph> graph;
};

std::unique_ptr<backends::Program> compile(const LogitsGraph& logits, std::int64_t rows) {
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = rows;
  auto program = (*backends::find_backend("cuda"))->compile(logits.graph, options);
  REQUIRE_MESSAGE(program.ok(), (program.ok() ? "" : program.error().describe()));
  return std::move(program).value();
}

/// One row for each of `tokens`, all of them outputs.
std::vector<float> run(backends::Program& program, const std::vector<std::int32_t>& tokens,
                       std::int64_t best) {
  std::vector<std::int64_t> positions(tokens.size(), 0);
  std::vector<std::int32_t> outputs(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) outputs[i] = static_cast<std::int32_t>(i);
  backends::StepBinding step{tokens, positions, {}, outputs};
  step.best = best;
  const Status status = program.run(step);
  REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().describe()));
  const auto logits = program.output("logits");
  return {logits.begin(), logits.end()};
}

std::vector<RankedLogit> sorted(std::span<const float> logits) {
  std::vector<RankedLogit> all;
  for (const float value : logits) {
    const bool usable = value <= std::numeric_limits<float>::max();
    all.push_back({usable ? value + 0.0F : kInfinity, static_cast<std::int32_t>(all.size())});
  }
  std::sort(all.begin(), all.end(), base::ranks_before);
  return all;
}

bool same(const RankedLogit& a, const RankedLogit& b) {
  return a.id == b.id &&
         std::bit_cast<std::uint32_t>(a.value) == std::bit_cast<std::uint32_t>(b.value);
}

}  // namespace

TEST_CASE("the best logits of every row are those that sorting gives, over one level or three") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  for (const std::int64_t vocab : {3, 64, 2048, 2049, 5000, 40000}) {
    CAPTURE(vocab);
    const LogitsGraph logits(vocab);
    const auto program = compile(logits, 8);
    const std::vector<std::int32_t> tokens{5, 1, 2, 3, 4};
    const std::vector<float> all = run(*program, tokens, 0);
    CHECK(program->best(0).empty());
    REQUIRE(all.size() == tokens.size() * static_cast<std::size_t>(vocab));
    for (const std::int64_t best : {1, 2, 5, 40, 64, 128, 1}) {
      CAPTURE(best);
      CHECK(run(*program, tokens, best).empty());
      for (std::size_t row = 0; row < tokens.size(); ++row) {
        CAPTURE(row);
        const auto expected = sorted(std::span(all).subspan(row * static_cast<std::size_t>(vocab),
                                                            static_cast<std::size_t>(vocab)));
        const auto found = program->best(static_cast<std::int64_t>(row));
        REQUIRE(found.size() == static_cast<std::size_t>(std::min(best, vocab)));
        CHECK(std::equal(found.begin(), found.end(), expected.begin(), same));
      }
    }
  }
}

TEST_CASE("more of the best, or of more rows, than a device ranks come with all logits") {
  if (backends::cuda::TestDevice::open() == nullptr) return;
  const LogitsGraph logits(300);
  const auto program = compile(logits, 9);
  CHECK(run(*program, {1}, 128).empty());
  CHECK(run(*program, {1}, 129).size() == 300);
  CHECK(program->best(0).empty());
  CHECK(run(*program, std::vector<std::int32_t>(8, 1), 1).empty());
  CHECK(run(*program, std::vector<std::int32_t>(9, 1), 1).size() == 9 * 300);
  CHECK(program->best(0).empty());
}
