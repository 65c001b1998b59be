// What a LinearObserver is shown.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "toy_model.h"

using namespace quern;
using namespace quern::test;

namespace {

/// Keeps what thread 0 is shown.
class Recorder final : public backends::LinearObserver {
 public:
  explicit Recorder(std::set<std::string, std::less<>> wanted) : wanted_(std::move(wanted)) {}
  bool wants(std::string_view weight) const override { return wanted_.count(weight) != 0; }
  void see(const backends::ObservedRows& rows, int thread, int threads) noexcept override {
    if (thread != 0 || threads < 1) return;
    std::vector<float>& all = seen[std::string(rows.weight)];
    all.insert(all.end(), rows.rows, rows.rows + rows.n * rows.cols);
  }
  std::map<std::string, std::vector<float>> seen;

 private:
  std::set<std::string, std::less<>> wanted_;
};

constexpr std::int64_t kTokens = 23;

/// Runs kTokens tokens in steps of `chunk`. \return the logits of every row.
std::vector<float> run(const ToyModel& model, backends::LinearObserver* observer, int threads,
                       std::int64_t chunk) {
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = options.max_positions = kTokens;
  options.executor = std::move(make_executor(threads)).value();
  options.observer = observer;
  auto program = (*backends::find_backend("cpu"))->compile(model.graph(), options);
  REQUIRE(program.ok());
  auto state = (*program)->new_sequence({kTokens});
  REQUIRE(state.ok());
  std::vector<float> logits;
  for (std::int64_t first = 0; first < kTokens; first += chunk) {
    const auto n = static_cast<std::size_t>(std::min(chunk, kTokens - first));
    std::vector<std::int32_t> tokens(n), outputs(n);
    std::vector<std::int64_t> positions(n);
    std::iota(positions.begin(), positions.end(), first);
    std::iota(outputs.begin(), outputs.end(), 0);
    for (std::size_t i = 0; i < n; ++i)
      tokens[i] = static_cast<std::int32_t>((positions[i] * 7 + 3) % 40);
    const std::vector<backends::SequenceState*> states(n, state->get());
    REQUIRE((*program)->run({tokens, positions, states, outputs}).ok());
    const auto part = (*program)->output("logits");
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

/// Row r of x · wᵀ; `w` [n, k] of the graph in float32 panels.
std::vector<float> product(const quant::TensorView& w, const float* x) {
  std::vector<float> y, rows(static_cast<std::size_t>(16 * w.cols));
  const auto panel = *panel_bytes(*find_encoding(w.encoding), static_cast<std::uint64_t>(w.cols));
  for (std::int64_t n = 0; n < w.rows; ++n) {
    quant::find_ops(w.encoding)
        ->dequantize_panel(w.data + static_cast<std::uint64_t>(n / 16) * panel, w.cols,
                           rows.data());
    y.push_back(std::inner_product(x, x + w.cols, rows.begin() + n % 16 * w.cols, 0.0F));
  }
  return y;
}

const quant::TensorView& weight(const ToyModel& model, const std::string& name) {
  for (const graph::Weight& found : model.graph()->weights) {
    if (found.name == name) return found.view;
  }
  FAIL("no such weight");
  return model.graph()->weights.front().view;
}

}  // namespace

TEST_CASE("an observer sees every row that enters the products it asked for, and no others") {
  const ToyModel model({});
  Recorder recorder({"wq", "down", "embed"});
  const std::vector<float> logits = run(model, &recorder, 1, kTokens);
  REQUIRE(recorder.seen.size() == 3);
  CHECK(recorder.seen["down"].size() == kTokens * 80);
  REQUIRE(recorder.seen["wq"].size() == kTokens * 48);
  REQUIRE(recorder.seen["embed"].size() == kTokens * 48);
  for (std::int64_t row = 0; row < kTokens; ++row) {
    // Before wq: the norm of the token's embedding.
    const quant::TensorView& embed = weight(model, "embed");
    std::vector<float> one(48);
    std::vector<float> rows(16 * 48);
    const std::int64_t token = (row * 7 + 3) % 40;
    const auto panel = *panel_bytes(*find_encoding(embed.encoding), 48);
    quant::find_ops(embed.encoding)
        ->dequantize_panel(embed.data + static_cast<std::uint64_t>(token / 16) * panel, 48,
                           rows.data());
    const float* x = rows.data() + token % 16 * 48;
    const float norm = std::sqrt(std::inner_product(x, x + 48, x, 0.0F) / 48 + 1e-5F);
    for (std::int64_t k = 0; k < 48; ++k) {
      CHECK(recorder.seen["wq"][static_cast<std::size_t>(row * 48 + k)] ==
            doctest::Approx(x[k] / norm).epsilon(1e-5));
    }
    // Before the output matrix: what gives the logits.
    const std::vector<float> y = product(embed, recorder.seen["embed"].data() + row * 48);
    for (std::size_t v = 0; v < 40; ++v) {
      CHECK(logits[static_cast<std::size_t>(row) * 40 + v] == doctest::Approx(y[v]).epsilon(1e-4));
    }
  }
}

TEST_CASE("what an observer sees depends on neither threads nor steps, and changes nothing") {
  for (const Encoding encoding : {Encoding::kQR8, Encoding::kQ4_0}) {
    ToyShape shape;
    shape.dim = 64;
    shape.ffn = 96;
    shape.encoding = encoding;
    const ToyModel model(shape);
    Recorder first({"wv", "wo", "gate", "down", "embed"});
    const std::vector<float> logits = run(model, nullptr, 1, kTokens);
    CHECK(run(model, &first, 1, kTokens) == logits);
    CHECK(first.seen.size() == 5);
    for (const int threads : {1, 2, 3}) {
      for (const std::int64_t chunk :
           {kTokens, std::int64_t{16}, std::int64_t{5}, std::int64_t{1}}) {
        CAPTURE(threads);
        CAPTURE(chunk);
        Recorder again({"wv", "wo", "gate", "down", "embed"});
        CHECK(run(model, &again, threads, chunk) == logits);
        CHECK(again.seen == first.seen);
      }
    }
  }
}
