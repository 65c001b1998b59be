// Every product of quantized weights in every golden decoder, encoder and encoder–decoder, those of
// experts included, against the same product of the dequantized weights (product_bounds.h).
#include <doctest/doctest.h>

#include <cstdlib>
#include <numeric>

#include "golden_model.h"
#include "product_bounds.h"
#include "quern/executor.h"
#include "support/must.h"

using namespace quern;
using namespace quern::test;
using quern::testing::must;

namespace {

/// Bounds that no product comes near would show nothing.
constexpr double kNear = 0.05;
constexpr Encoding kEncodings[] = {Encoding::kQ8_0, Encoding::kQ4_0, Encoding::kQR8,
                                   Encoding::kQR4};

/// Checks the last step of a program.
void check(const ProductBounds& bounds, const backends::Program& program) {
  REQUIRE(bounds.count() > 0);
  std::string name = "none";
  const double worst = bounds.worst(program, name);
  CAPTURE(name);
  CHECK(worst <= 1.0);
  CHECK(worst >= kNear);
}

std::unique_ptr<backends::Program> compiled(ProductBounds& bounds, std::size_t rows) {
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = static_cast<std::int64_t>(rows);
  options.max_positions = options.max_source = 64;
  options.executor = must(make_executor(2));
  options.observer = &bounds;
  return must(must(backends::find_backend("cpu"))->compile(bounds.graph(), options));
}

/// A step of one sequence from its beginning.
struct Step {
  std::vector<std::int32_t> ids, rows;
  std::vector<std::int64_t> positions;
  std::vector<backends::SequenceState*> sequences;

  Step(std::vector<std::int32_t> of, backends::SequenceState* state)
      : ids(std::move(of)), rows(ids.size()), positions(ids.size()), sequences(ids.size(), state) {
    std::iota(rows.begin(), rows.end(), 0);
    std::iota(positions.begin(), positions.end(), std::int64_t{0});
  }
  Status run(backends::Program& program) const {
    backends::StepBinding binding{ids, positions, sequences, rows};
    const std::int32_t start = 0;
    binding.starts = {&start, 1};
    if (sequences.front() == nullptr) binding.sequences = {};
    return program.run(binding);
  }
};

template <class Body>
void for_each_golden(const std::set<std::string>& kinds, Body body) {
  const std::vector<std::string> names = goldens(kinds);
  if (names.empty() && std::getenv("CI") != nullptr) FAIL("no goldens");
  for (const std::string& name : names) {
    CAPTURE(name);
    const std::string directory = std::string(QUERN_GOLDENS_DIR) + "/models/" + name;
    const auto golden = must(formats::SafetensorsFile::open(directory + "/golden.safetensors"));
    for (const Encoding encoding : kEncodings) {
      CAPTURE(find_encoding(encoding)->name);
      body(must(GoldenModel::load(directory, "config.json", encoding)), golden);
    }
  }
}

}  // namespace

TEST_CASE("quantized products differ from dequantized ones by the rounding of activations alone") {
  for_each_golden({"decoder"}, [](const GoldenModel& model, const auto& golden) {
    ProductBounds bounds(*model.graph());
    const std::vector<std::int32_t> ids = golden_ids(golden, "short_input_ids");
    const auto program = compiled(bounds, ids.size());
    const auto sequence = must(program->new_sequence({64}));
    REQUIRE(Step(ids, sequence.get()).run(*program).ok());
    check(bounds, *program);
  });
}

TEST_CASE("the same of encoders") {
  for_each_golden({"encoder", "masked_lm", "seq_cls"},
                  [](const GoldenModel& model, const auto& golden) {
                    ProductBounds bounds(*model.graph());
                    std::vector<std::int32_t> ids = golden_ids(golden, "input_ids");
                    const std::vector<std::int32_t> mask = golden_ids(golden, "attention_mask");
                    std::size_t n = 0;
                    while (n < ids.size() && mask[n] != 0) ++n;
                    REQUIRE(n > 1);
                    ids.resize(n);  // The first text.
                    const auto program = compiled(bounds, n);
                    REQUIRE(Step(ids, nullptr).run(*program).ok());
                    check(bounds, *program);
                  });
}

TEST_CASE("the same of encoder–decoders, on both sides") {
  for_each_golden({"seq2seq"}, [](const GoldenModel& model, const auto& golden) {
    ProductBounds source(*model.source_graph()), target(*model.graph());
    const std::vector<std::int32_t> ids = golden_ids(golden, "input_ids");
    const std::vector<std::int32_t> reply = golden_ids(golden, "decoder_input_ids");
    REQUIRE(!ids.empty());
    REQUIRE(!reply.empty());
    const auto reader = compiled(source, ids.size()), writer = compiled(target, reply.size());
    const auto sequence = must(writer->new_sequence({64, 64}));
    REQUIRE(Step(ids, sequence.get()).run(*reader).ok());
    check(source, *reader);
    sequence->set_source_rows(static_cast<std::int64_t>(ids.size()));
    REQUIRE(Step(reply, sequence.get()).run(*writer).ok());
    check(target, *writer);
  });
}
