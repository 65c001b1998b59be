// Encoders through the public API: steps that texts share, refusals, pooling, the C functions.
#include "quern/encoder.h"

#include <doctest/doctest.h>

#include <cmath>

#include "quern/quern.h"
#include "support.h"

using namespace quern;
using namespace quern::test;

namespace {

std::vector<EncoderInput> some_inputs() {
  std::vector<EncoderInput> inputs;
  for (const std::size_t length : {5U, 1U, 37U, 64U, 2U, 20U}) {
    EncoderInput input;
    for (std::size_t i = 0; i < length; ++i) {
      input.ids.push_back(static_cast<TokenId>((7 * i + 3 * length) % 259));
      input.types.push_back(static_cast<std::int32_t>(i > length / 2 ? 1 : 0));
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}

/// Hidden states and logits of every input, one after the other.
std::vector<std::vector<float>> results(Encoder& encoder, std::span<const EncoderInput> inputs) {
  std::vector<std::vector<float>> all;
  const Status status =
      encoder.run(inputs, [&](std::size_t index, const EncoderOutput& output) -> Status {
        CHECK(index == all.size());
        all.emplace_back(output.hidden.begin(), output.hidden.end());
        all.back().insert(all.back().end(), output.logits.begin(), output.logits.end());
        return {};
      });
  if (!status.ok()) FAIL(status.error().describe());
  return all;
}

Encoder new_encoder(const Model& model, const EncoderOptions& options = {}) {
  auto encoder = Encoder::create(model, options);
  if (!encoder.ok()) FAIL(encoder.error().describe());
  return std::move(encoder).value();
}

Status run_one(Encoder& encoder, const EncoderInput& input) {
  return encoder.run({&input, 1}, [](std::size_t, const EncoderOutput&) { return Status(); });
}

}  // namespace

TEST_CASE("texts give the same bits in steps of their own and in shared ones") {
  for (const std::string& path : goldens_of({"encoder", "masked_lm", "seq_cls"})) {
    CAPTURE(path);
    const Model& model = opened(path, 2);
    const auto types = model.config().integer_or("n_types", 0);
    REQUIRE(types.ok());
    std::vector<EncoderInput> inputs = some_inputs();
    for (EncoderInput& input : inputs) {
      if (input.ids.size() > 62) input.ids.resize(62), input.types.resize(62);
      if (*types < 2) input.types.clear();
    }
    Encoder shared = new_encoder(model);
    Encoder single = new_encoder(model, {.max_tokens = 62, .batch_rows = 1});
    const auto want = results(shared, inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      CHECK(same_bits(results(single, std::span(inputs).subspan(i, 1)).front(), want[i]));
  }
}

TEST_CASE("coded keys and values change states little, and their bits with no company") {
  struct Kind {
    KvType kv;
    double most;  ///< Of a root mean square difference, by the states' own root mean square.
  };
  for (const std::string& path : goldens_of({"encoder"})) {
    CAPTURE(path);
    const Model& model = opened(path, 2);
    std::vector<EncoderInput> inputs = some_inputs();
    for (EncoderInput& input : inputs) {
      input.ids.resize(std::min<std::size_t>(input.ids.size(), 62));
      input.types.clear();
    }
    Encoder plain = new_encoder(model);
    const auto want = results(plain, inputs);
    for (const Kind& kind : {Kind{KvType::kF16, 1e-3}, Kind{KvType::kBF16, 1e-2},
                             Kind{KvType::kQ8, 3e-2}, Kind{KvType::kQ4, 3e-1}}) {
      CAPTURE(static_cast<int>(kind.kv));
      Encoder shared = new_encoder(model, {.kv = kind.kv});
      Encoder single = new_encoder(model, {.max_tokens = 62, .batch_rows = 1, .kv = kind.kv});
      const auto got = results(shared, inputs);
      double squares = 0, all = 0;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        CHECK(same_bits(results(single, std::span(inputs).subspan(i, 1)).front(), got[i]));
        for (std::size_t k = 0; k < want[i].size(); ++k) {
          squares += (got[i][k] - want[i][k]) * (got[i][k] - want[i][k]);
          all += want[i][k] * want[i][k];
        }
      }
      CHECK(std::sqrt(squares / all) < kind.most);
      CHECK(squares > 0);
    }
  }
}

TEST_CASE("an encoder refuses what it cannot read, before anything is evaluated") {
  const auto path = golden_model("bert");
  if (!path) return;
  const Model& model = opened(*path);
  CHECK(model.is_encoder());
  CHECK(code_of(Session::create(model)) == ErrorCode::kUnsupported);
  CHECK(code_of(Encoder::create(model, {.max_tokens = 65})) == ErrorCode::kOutOfRange);
  CHECK(code_of(Encoder::create(model, {.batch_rows = 0})) == ErrorCode::kOutOfRange);
  CHECK(code_of(Encoder::create(model, {.kv = static_cast<KvType>(6)})) == ErrorCode::kOutOfRange);
  Encoder encoder = new_encoder(model);
  CHECK(encoder.dim() == 96);
  CHECK(encoder.max_tokens() == 64);
  CHECK(run_one(encoder, {}).error().code == ErrorCode::kInvalidArgument);
  CHECK(run_one(encoder, {{1, 259}, {}}).error().code == ErrorCode::kOutOfRange);
  CHECK(run_one(encoder, {{-1}, {}}).error().code == ErrorCode::kOutOfRange);
  CHECK(run_one(encoder, {{1, 2}, {0, 2}}).error().field == "token type");
  CHECK(run_one(encoder, {{1, 2}, {0}}).error().code == ErrorCode::kInvalidArgument);
  CHECK(run_one(encoder, {std::vector<TokenId>(65, 1), {}}).error().code == ErrorCode::kLimit);
  CHECK(run_one(encoder, {std::vector<TokenId>(64, 1), {}}).ok());
  CHECK(code_of(model.encode_text("a text")) == ErrorCode::kMissing);
  CHECK(code_of(model.encode_pair("a", "b")) == ErrorCode::kMissing);
}

TEST_CASE("a decoder is no encoder") {
  const auto path = golden_model("llama3");
  if (!path) return;
  CHECK_FALSE(opened(*path).is_encoder());
  CHECK(code_of(Encoder::create(opened(*path))) == ErrorCode::kUnsupported);
}

TEST_CASE("an error of the sink ends the run") {
  const auto path = golden_model("bert");
  if (!path) return;
  Encoder encoder = new_encoder(opened(*path), {.batch_rows = 1});
  int calls = 0;
  const Status status =
      encoder.run(some_inputs(), [&](std::size_t, const EncoderOutput&) -> Status {
        ++calls;
        return Error(ErrorCode::kCancelled, "enough");
      });
  CHECK(status.error().code == ErrorCode::kCancelled);
  CHECK(calls == 1);
}

TEST_CASE("texts of unequal length share a step, which costs their tokens and no padding") {
  const auto path = golden_model("bert");
  if (!path) return;
  EncoderOptions options;
  options.trace_events = 4096;
  const std::vector<EncoderInput> inputs = some_inputs();
  std::size_t tokens = 0;
  for (const EncoderInput& input : inputs) tokens += input.ids.size();
  Encoder encoder = new_encoder(opened(*path), options);
  results(encoder, inputs);
  const auto trace = encoder.trace();
  REQUIRE(trace.ok());
  std::size_t steps = 0;
  for (const StepTrace::Event& event : trace->events) {
    if (trace->parts[event.part].kind != "step") continue;
    ++steps;
    CHECK(event.rows == static_cast<std::int64_t>(tokens));
  }
  CHECK(steps == 1);
}

TEST_CASE("weighted means, sums over a root and several poolings together") {
  const std::vector<float> hidden = {1, 4, 3, -2, 0, 3};  // Three rows of two.
  const auto pooled = [&](const EmbeddingOptions& options) {
    return pool_embedding(hidden, 2, options);
  };
  CHECK(pooled({Pooling::kWeightedMean, false}) == std::vector<float>{7.0F / 6.0F, 9.0F / 6.0F});
  const std::vector<float> over_root = pooled({Pooling::kMeanSqrt, false});
  CHECK(over_root[0] == doctest::Approx(4 / std::sqrt(3.0)));
  CHECK(over_root[1] == doctest::Approx(5 / std::sqrt(3.0)));
  CHECK(pooled({Pooling::kLast, false, {Pooling::kMax, Pooling::kFirst}}) ==
        std::vector<float>{0, 3, 3, 4, 1, 4});
  const std::vector<float> unit = pooled({Pooling::kFirst, true, {Pooling::kLast}});
  CHECK(unit[1] == doctest::Approx(4 / std::sqrt(26.0)));
}

TEST_CASE("pooling takes the mean, the first, the last or the largest") {
  const std::vector<float> hidden = {1, 4, 3, -2};  // Two rows of two.
  const auto pooled = [&](Pooling pooling, bool normalize) {
    return pool_embedding(hidden, 2, {pooling, normalize});
  };
  CHECK(pooled(Pooling::kMean, false) == std::vector<float>{2, 1});
  CHECK(pooled(Pooling::kFirst, false) == std::vector<float>{1, 4});
  CHECK(pooled(Pooling::kLast, false) == std::vector<float>{3, -2});
  CHECK(pooled(Pooling::kMax, false) == std::vector<float>{3, 4});
  CHECK(pooled(Pooling::kMax, true) == std::vector<float>{0.6F, 0.8F});
  CHECK(pool_embedding(std::vector<float>{0, 0}, 2, {}) == std::vector<float>{0, 0});
}

TEST_CASE("the C functions of an encoder refuse null pointers") {
  quern_encoder* encoder = nullptr;
  CHECK(quern_encoder_create(nullptr, &encoder) == QUERN_INVALID_ARGUMENT);
  CHECK(encoder == nullptr);
  const float* values = nullptr;
  size_t count = 0;
  CHECK(quern_encoder_embed(nullptr, "x", 1, &values, &count) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_encoder_score(nullptr, "x", 1, "y", 1, &values, &count) == QUERN_INVALID_ARGUMENT);
  quern_encoder_free(nullptr);
}
