#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "support/allocation_probe.h"
#include "toy_model.h"

using namespace quern;
using namespace quern::test;

namespace {

struct Sequence {
  std::unique_ptr<backends::SequenceState> state;
  std::int64_t position = 0;
};

/// A program and the rows of a step under construction.
class Bench {
 public:
  Bench(const ToyModel& model, backends::CompileOptions options, int threads) {
    options.executor = std::move(make_executor(threads)).value();
    auto compiled = (*backends::find_backend("cpu"))->compile(model.graph(), options);
    REQUIRE_MESSAGE(compiled.ok(), (compiled.ok() ? "" : compiled.error().describe()));
    program_ = std::move(compiled).value();
    capacity_ = options.max_positions;
  }

  Sequence sequence() const { return {std::move(program_->new_sequence({capacity_})).value()}; }

  void add(Sequence& sequence, std::int32_t token) {
    tokens_.push_back(token);
    positions_.push_back(sequence.position++);
    sequences_.push_back(sequence.state.get());
    outputs_.push_back(static_cast<std::int32_t>(outputs_.size()));
  }

  std::vector<float> run() {
    REQUIRE(program_->run({tokens_, positions_, sequences_, outputs_}).ok());
    const auto out = program_->output("logits");
    tokens_.clear();
    positions_.clear();
    sequences_.clear();
    outputs_.clear();
    return {out.begin(), out.end()};
  }

  backends::Program& program() { return *program_; }

 private:
  std::unique_ptr<backends::Program> program_;
  std::int64_t capacity_ = 0;
  std::vector<std::int32_t> tokens_, outputs_;
  std::vector<std::int64_t> positions_;
  std::vector<backends::SequenceState*> sequences_;
};

backends::CompileOptions options_for(std::int64_t rows, std::int64_t positions, KvType kv) {
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = rows;
  options.max_positions = positions;
  options.kv = kv;
  return options;
}

std::int32_t token_at(std::int64_t i) { return static_cast<std::int32_t>((i * 7 + 3) % 40); }

/// Logits of tokens 0 … n−1 of one sequence, in steps of `chunk`.
std::vector<float> logits_of(const ToyModel& model, KvType kv, int threads, std::int64_t n,
                             std::int64_t chunk) {
  Bench bench(model, options_for(64, n, kv), threads);
  Sequence sequence = bench.sequence();
  std::vector<float> all;
  for (std::int64_t i = 0; i < n;) {
    for (std::int64_t end = std::min(n, i + chunk); i < end; ++i) bench.add(sequence, token_at(i));
    const std::vector<float> part = bench.run();
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr KvType kAllKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8,
                                  KvType::kQ4};

}  // namespace

TEST_CASE(
    "attention over many spans gives the same bits for every chunking, thread count and cache "
    "type") {
  for (const std::int64_t window : {0, 70}) {
    const ToyModel model({.window = window});
    REQUIRE(model.graph() != nullptr);
    for (const KvType kv : kAllKvTypes) {
      CAPTURE(static_cast<int>(kv));
      const std::vector<float> reference = logits_of(model, kv, 1, 700, 64);
      CHECK(same_bits(logits_of(model, kv, 1, 700, 1), reference));
      CHECK(same_bits(logits_of(model, kv, 2, 700, 13), reference));
      CHECK(same_bits(logits_of(model, kv, 5, 700, 64), reference));
      CHECK(same_bits(logits_of(model, kv, 3, 700, 2), reference));
    }
  }
}

TEST_CASE("attention to a source without rows is zero in steps of few and of many rows") {
  const ToyModel model({.cross = true});
  REQUIRE(model.graph() != nullptr);
  for (const KvType kv : kAllKvTypes) {
    CAPTURE(static_cast<int>(kv));
    backends::CompileOptions options = options_for(32, 64, kv);
    options.max_source = 8;
    std::vector<float> many;
    for (const std::int64_t chunk : {32, 3, 1}) {
      CAPTURE(chunk);
      Bench bench(model, options, 2);
      Sequence sequence{std::move(bench.program().new_sequence({64, 8})).value()};
      sequence.state->set_source_rows(0);
      std::vector<float> all;
      for (std::int64_t i = 0; i < 32;) {
        for (const std::int64_t end = std::min<std::int64_t>(32, i + chunk); i < end; ++i)
          bench.add(sequence, token_at(i));
        const std::vector<float> part = bench.run();
        all.insert(all.end(), part.begin(), part.end());
      }
      if (many.empty()) many = all;
      CHECK(same_bits(all, many));
    }
  }
}

TEST_CASE("a gated product of two encodings gives the same bits in steps of few and of many rows") {
  constexpr Encoding kEncodings[] = {Encoding::kQR8, Encoding::kQR4, Encoding::kQR3,
                                     Encoding::kF32};
  for (const Encoding gate : kEncodings) {
    for (const Encoding up : kEncodings) {
      CAPTURE(static_cast<int>(gate));
      CAPTURE(static_cast<int>(up));
      const ToyModel model({.ffn = 272, .gate = gate, .up = up});
      REQUIRE(model.graph() != nullptr);
      const std::vector<float> few = logits_of(model, KvType::kF32, 1, 40, 1);
      CHECK(same_bits(logits_of(model, KvType::kF32, 1, 40, 40), few));
      CHECK(same_bits(logits_of(model, KvType::kF32, 2, 40, 20), few));
    }
  }
}

TEST_CASE(
    "a scan gives the same bits with the product of its steps as without, however rows come") {
  for (const Encoding encoding : {Encoding::kQR8, Encoding::kQR4, Encoding::kF32}) {
    CAPTURE(static_cast<int>(encoding));
    const ToyModel joined({.encoding = encoding, .scan_columns = 150});
    const ToyModel apart({.encoding = encoding, .scan_columns = 150, .scan_apart = true});
    REQUIRE(joined.graph() != nullptr);
    REQUIRE(apart.graph() != nullptr);
    const std::vector<float> reference = logits_of(apart, KvType::kF32, 1, 90, 1);
    for (const ToyModel* model : {&joined, &apart}) {
      CHECK(same_bits(logits_of(*model, KvType::kF32, 1, 90, 1), reference));
      CHECK(same_bits(logits_of(*model, KvType::kF32, 3, 90, 5), reference));
      CHECK(same_bits(logits_of(*model, KvType::kF32, 1, 90, 37), reference));
      CHECK(same_bits(logits_of(*model, KvType::kF32, 4, 90, 64), reference));
    }
  }
}

TEST_CASE("a narrower cache type stays near the float32 one, and no nearer than it can") {
  const ToyModel model({});
  const std::vector<float> exact = logits_of(model, KvType::kF32, 1, 300, 64);
  const auto norm = [](const std::vector<float>& v) {
    return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
  };
  struct Bound {
    KvType kv;
    double least, most;  // Relative root-mean-square error of the logits.
  };
  const Bound bounds[] = {{KvType::kF16, 3e-5, 6e-4},
                          {KvType::kBF16, 3e-4, 5e-3},
                          {KvType::kQ8, 1e-3, 1.5e-2},
                          {KvType::kQ4, 2e-2, 0.2}};
  for (const Bound& bound : bounds) {
    CAPTURE(static_cast<int>(bound.kv));
    std::vector<float> difference = logits_of(model, bound.kv, 1, 300, 64);
    for (std::size_t i = 0; i < exact.size(); ++i) difference[i] -= exact[i];
    const double error = norm(difference) / norm(exact);
    CHECK(error >= bound.least);
    CHECK(error <= bound.most);
  }
}

TEST_CASE("companions in a step do not change a sequence's bits") {
  for (const std::int64_t scan_columns : {0, 150}) {
    const ToyModel model({.scan_columns = scan_columns});
    const std::vector<float> alone = logits_of(model, KvType::kF32, 2, 40, 64);
    Bench bench(model, options_for(64, 512, KvType::kF32), 2);
    Sequence one = bench.sequence();
    Sequence two = bench.sequence();
    Sequence three = bench.sequence();
    std::vector<float> together;
    for (std::int64_t i = 0; i < 40; ++i) {
      for (std::int64_t k = 0; k < i % 5; ++k) bench.add(two, token_at(i + k + 11));
      bench.add(three, token_at(3 * i));
      bench.add(one, token_at(i));
      const std::vector<float> logits = bench.run();
      together.insert(together.end(), logits.end() - 40, logits.end());
    }
    CHECK(same_bits(together, alone));
  }
}

TEST_CASE("a copied sequence goes on with the same bits") {
  const ToyModel model({});
  Bench bench(model, options_for(64, 512, KvType::kQ8), 2);
  Sequence one = bench.sequence();
  for (std::int64_t i = 0; i < 64; ++i) bench.add(one, token_at(i));
  bench.run();
  Sequence two = bench.sequence();
  REQUIRE(two.state->copy_from(*one.state, 50).ok());
  two.position = 50;
  one.position = 50;
  REQUIRE(one.state->rewind(50).ok());
  bench.add(one, 9);
  const std::vector<float> first = bench.run();
  bench.add(two, 9);
  CHECK(same_bits(bench.run(), first));
}

TEST_CASE("a step allocates nothing") {
  const ToyModel model({});
  Bench bench(model, options_for(64, 512, KvType::kF16), 1);  // The probe sees its own thread.
  Sequence sequence = bench.sequence();
  for (std::int64_t i = 0; i < 20; ++i) bench.add(sequence, token_at(i));
  bench.run();
  const std::vector<std::int32_t> tokens = {5};
  const std::vector<std::int64_t> positions = {20};
  const std::vector<backends::SequenceState*> sequences = {sequence.state.get()};
  const std::vector<std::int32_t> outputs = {0};
  const backends::StepBinding step{tokens, positions, sequences, outputs};
  const quern::testing::AllocationProbe probe;
  const bool done = bench.program().run(step).ok();
  const std::size_t allocations = probe.count();
  CHECK(done);
  CHECK(allocations == 0);
}

TEST_CASE("the plan says exactly what a program and a sequence take") {
  const ToyModel model({});
  backends::CompileOptions options = options_for(64, 500, KvType::kF16);
  options.executor = std::move(make_executor(2)).value();
  const backends::Backend& backend = **backends::find_backend("cpu");
  const auto plan = backend.plan(*model.graph(), options, {500});
  REQUIRE(plan.ok());
  const auto program = backend.compile(model.graph(), options);
  REQUIRE(program.ok());
  CHECK((*program)->scratch_bytes() == plan->scratch_bytes);
  CHECK((*(*program)->new_sequence({500}))->bytes() == plan->sequence_bytes);
}

TEST_CASE("an executor that cannot give its threads is an error, not a hang") {
  class Refusing final : public Executor {
   public:
    int threads() const noexcept override { return 4; }
    bool run(int, void (*)(void*, int), void*) noexcept override { return false; }
  };
  const ToyModel model({});
  backends::CompileOptions options = options_for(8, 64, KvType::kF32);
  options.executor = std::make_shared<Refusing>();
  const auto program = (*backends::find_backend("cpu"))->compile(model.graph(), options);
  REQUIRE(program.ok());
  auto state = (*program)->new_sequence({64});
  REQUIRE(state.ok());
  const std::vector<std::int32_t> zero = {0};
  const std::vector<std::int64_t> positions = {0};
  const std::vector<backends::SequenceState*> sequences = {state->get()};
  const Status status = (*program)->run({zero, positions, sequences, zero});
  REQUIRE(!status.ok());
  CHECK(status.error().code == ErrorCode::kLimit);
}

TEST_CASE("sizes that do not fit together are refused") {
  const ToyModel model({});
  backends::CompileOptions options = options_for(0, 64, KvType::kF32);
  options.executor = std::move(make_executor(1)).value();
  const auto program = (*backends::find_backend("cpu"))->compile(model.graph(), options);
  REQUIRE(!program.ok());
  CHECK(program.error().code == ErrorCode::kInvalidArgument);
  CHECK(backends::find_backend("abacus").error().code == ErrorCode::kUnsupported);
}

TEST_CASE("fast mode stays near the exact one, or says that the build lacks it") {
  const ToyModel model({.vocab = 150, .dim = 96, .ffn = 272});
  const auto run = [&](bool fast) -> Result<std::vector<float>> {
    backends::CompileOptions options = options_for(100, 512, KvType::kF32);
    options.fast = fast;
    options.executor = std::move(make_executor(2)).value();
    QUERN_TRY(program, (*backends::find_backend("cpu"))->compile(model.graph(), options));
    QUERN_TRY(state, program->new_sequence({512}));
    std::vector<std::int32_t> tokens(100), rows(100);
    std::vector<std::int64_t> positions(100);
    for (std::size_t i = 0; i < 100; ++i) {
      tokens[i] = token_at(static_cast<std::int64_t>(i));
      positions[i] = rows[i] = static_cast<std::int32_t>(i);
    }
    const std::vector<backends::SequenceState*> sequences(100, state.get());
    QUERN_CHECK(program->run({tokens, positions, sequences, rows}));
    const auto logits = program->output("logits");
    return std::vector<float>(logits.begin(), logits.end());
  };
  const auto exact = run(false);
  const auto fast = run(true);
  REQUIRE(exact.ok());
  if (!fast.ok()) {
    CHECK(fast.error().code == ErrorCode::kUnsupported);
    return;
  }
  double error = 0, size = 0;
  for (std::size_t i = 0; i < exact->size(); ++i) {
    error += std::pow(static_cast<double>((*fast)[i]) - static_cast<double>((*exact)[i]), 2);
    size += std::pow(static_cast<double>((*exact)[i]), 2);
  }
  CHECK(std::sqrt(error / size) < 2e-2);  // bf16 has 8 bits; float32 in another order far less.
}
