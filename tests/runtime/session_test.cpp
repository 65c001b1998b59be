#include "quern/session.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "convert/convert.h"
#include "support.h"

using namespace quern;
using namespace quern::test;

namespace {

double deviation(std::span<const float> values) {
  double sum = 0, squares = 0;
  for (const float value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const float value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

}  // namespace

TEST_CASE("logits of every golden decoder agree with transformers within 2e-4 of their deviation") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const auto path = golden_model(name);
    if (!path) return;
    const auto expected = golden_floats(*path, "logits");
    const auto found = all_logits(opened(*path), golden_ids(*path, "input_ids"), 512);
    REQUIRE(found.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(found[i]) - expected[i]));
    CHECK(worst <= 2e-4 * deviation(expected));
  }
}

TEST_CASE("greedy ids of every golden decoder agree with transformers") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const auto path = golden_model(name);
    if (!path) return;
    Session session = new_session(opened(*path));
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.ignore_end_tokens = true;
    options.max_tokens = 16;
    const auto reply = session.generate(golden_ids(*path, "input_ids"), options);
    REQUIRE(reply.ok());
    CHECK(reply->ids == golden_ids(*path, "greedy_ids"));
    CHECK(reply->reason == FinishReason::kLength);
  }
}

TEST_CASE("chunks of 1, 7, 64 and 512 rows and 1 to 3 threads give the same bits") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const auto path = golden_model(name);
    if (!path) return;
    const auto ids = golden_ids(*path, "input_ids");
    const auto whole = all_logits(opened(*path), ids, 512);
    for (const std::int64_t chunk : {1, 7, 64})
      CHECK(same_bits(all_logits(opened(*path), ids, chunk), whole));
    for (const int threads : {2, 3})
      CHECK(same_bits(all_logits(opened(*path, threads), ids, 7), whole));
  }
}

TEST_CASE("step returns the last row of step_all, with every kind of cache") {
  const auto path = golden_model("llama3");
  if (!path) return;
  const Model& model = opened(*path);
  const auto ids = golden_ids(*path, "input_ids");
  for (const KvType kv :
       {KvType::kAuto, KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
    const auto all = all_logits(model, ids, 16, kv);
    SessionOptions options;
    options.kv = kv;
    Session session = new_session(model, options);
    const auto last = session.step(ids);
    REQUIRE(last.ok());
    CHECK(same_bits(*last, std::span(all).last(static_cast<std::size_t>(model.vocab_size()))));
    CHECK(session.kv() == (kv == KvType::kAuto ? KvType::kF32 : kv));
  }
}

TEST_CASE("rewinding brings back the bits of the shorter sequence") {
  for (const char* name : {"llama3", "mistral", "gemma3_text"}) {
    CAPTURE(name);
    const auto path = golden_model(name);
    if (!path) return;
    const Model& model = opened(*path);
    const auto ids = golden_ids(*path, "input_ids");
    const auto all = all_logits(model, ids, 512);
    const auto vocab = static_cast<std::size_t>(model.vocab_size());
    Session session = new_session(model);
    REQUIRE(session.step(ids).ok());
    for (const std::int64_t keep : {40, 20, 7, 1, 0}) {
      REQUIRE(session.rewind(keep).ok());
      CHECK(session.position() == keep);
      const auto row = session.step(std::span(ids).subspan(static_cast<std::size_t>(keep), 1));
      REQUIRE(row.ok());
      CHECK(same_bits(*row, std::span(all).subspan(static_cast<std::size_t>(keep) * vocab, vocab)));
    }
    CHECK(code_of(session.rewind(-1)) == ErrorCode::kOutOfRange);
    CHECK(code_of(session.rewind(100)) == ErrorCode::kOutOfRange);
  }
}

TEST_CASE("a recurrent model goes back to its beginning or not at all") {
  for (const char* name : {"mamba", "lfm2", "granitemoehybrid"}) {
    const auto path = golden_model(name);
    if (!path) return;
    const Model& model = opened(*path);
    const auto ids = golden_ids(*path, "input_ids");
    Session session = new_session(model);
    const auto first = session.step(ids);
    REQUIRE(first.ok());
    const std::vector<float> expected(first->begin(), first->end());
    const Status rewound = session.rewind(3);
    REQUIRE_FALSE(rewound.ok());
    CHECK(rewound.error().code == ErrorCode::kUnsupported);
    CHECK(session.position() == static_cast<std::int64_t>(ids.size()));
    REQUIRE(session.rewind(0).ok());
    const auto again = session.step(ids);
    REQUIRE(again.ok());
    CHECK(std::vector<float>(again->begin(), again->end()) == expected);
  }
}

TEST_CASE("a step that does not fit, or holds no or foreign tokens, changes nothing") {
  const auto path = golden_model("llama3");
  if (!path) return;
  const Model& model = opened(*path);
  const auto ids = golden_ids(*path, "input_ids");
  SessionOptions options;
  options.context = 20;
  Session session = new_session(model, options);
  REQUIRE(session.step(std::span(ids).first(12)).ok());
  const auto refused = session.step(std::span(ids).subspan(12, 9));
  REQUIRE_FALSE(refused.ok());
  CHECK(code_of(refused) == ErrorCode::kLimit);
  CHECK(session.position() == 12);
  const std::vector<TokenId> foreign{1, static_cast<TokenId>(model.vocab_size())}, negative{-1};
  CHECK(code_of(session.step(foreign)) == ErrorCode::kOutOfRange);
  CHECK(code_of(session.step(negative)) == ErrorCode::kOutOfRange);
  CHECK(code_of(session.step({})) == ErrorCode::kInvalidArgument);
  CHECK(session.position() == 12);
  // And it goes on as if nothing had been.
  REQUIRE(session.step(std::span(ids).subspan(12, 8)).ok());
  const auto last = session.step(std::span(ids).first(1));
  CHECK(code_of(last) == ErrorCode::kLimit);
  CHECK(session.tokens() == std::vector<TokenId>(ids.begin(), ids.begin() + 20));
}

TEST_CASE("options outside their ranges are refused by name") {
  const auto path = golden_model("llama3");
  if (!path) return;
  const Model& model = opened(*path);
  const auto refused = [&model](const char* name, auto change) {
    SessionOptions options;
    change(options);
    const auto session = Session::create(model, options);
    REQUIRE_FALSE(session.ok());
    CHECK(code_of(session) == ErrorCode::kOutOfRange);
    CHECK(field_of(session) == name);
    CHECK(field_of(model.plan(options)) == name);
  };
  refused("context", [](SessionOptions& o) { o.context = -1; });
  refused("context", [&](SessionOptions& o) { o.context = model.max_seq_len() + 1; });
  refused("batch_rows", [](SessionOptions& o) { o.batch_rows = 0; });
  refused("batch_rows", [](SessionOptions& o) { o.batch_rows = INT64_MAX; });
  refused("output_rows", [](SessionOptions& o) { o.output_rows = 0; });
  refused("kv", [](SessionOptions& o) { o.kv = static_cast<KvType>(77); });
  CHECK(field_of(model.plan({}, 0)) == "sequences");
}

TEST_CASE("sessions of one model on threads of their own give the bits of one alone") {
  const auto path = golden_model("qwen3");
  if (!path) return;
  const Model& model = opened(*path, 2);
  const auto ids = golden_ids(*path, "input_ids");
  const auto alone = all_logits(model, ids, 5);
  std::vector<std::vector<float>> found(4);
  std::vector<std::thread> threads;
  for (auto& result : found) threads.emplace_back([&] { result = all_logits(model, ids, 5); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : found) CHECK(same_bits(result, alone));
}

TEST_CASE("the plan is exactly what a session takes") {
  const auto path = golden_model("qwen2");
  if (!path) return;
  const Model& model = opened(*path, 2);
  for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kQ8, KvType::kQ4}) {
    SessionOptions options;
    options.context = 200;
    options.kv = kv;
    const auto one = model.plan(options), four = model.plan(options, 4);
    REQUIRE(one.ok());
    REQUIRE(four.ok());
    CHECK(one->kv_bytes == new_session(model, options).kv_bytes());
    CHECK(four->kv_bytes == 4 * one->kv_bytes);
    CHECK(one->scratch_bytes > 0);
    std::uint64_t weights = 0;
    for (const TensorInfo& tensor : model.tensors()) weights += tensor.bytes;
    CHECK(one->weights_bytes == weights);
  }
}

TEST_CASE("a host's executor is used, also by two models at once") {
  struct Counting final : Executor {
    int runs = 0;
    int threads() const noexcept override { return 1; }
    bool run(int, void (*work)(void*, int), void* context) noexcept override {
      ++runs;
      work(context, 0);
      return true;
    }
  };
  const auto path = golden_model("llama2");
  if (!path) return;
  const auto ids = golden_ids(*path, "input_ids");
  auto executor = std::make_shared<Counting>();
  ModelOptions options;
  options.executor = executor;
  auto first = convert::open_any(*path, options);
  auto second = convert::open_any(*path, options);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  std::vector<float> one, two;
  std::thread other([&] { one = all_logits(*first, ids, 3); });
  two = all_logits(*second, ids, 3);
  other.join();
  CHECK(executor->runs >= 32);
  CHECK(same_bits(one, two));
}
