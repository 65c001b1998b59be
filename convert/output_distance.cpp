#include "convert/output_distance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quern/evaluation.h"
#include "runtime/log_sum_exp.h"
#include "runtime/model_state.h"

namespace quern::convert {
namespace {

constexpr std::size_t kRemembered = 256;  ///< Tokens of a row.
constexpr double kNoMass = 1e-30;

double log_remainder(double mass) { return std::log(std::max(1.0 - mass, kNoMass)); }

std::vector<TokenId> most_likely(std::span<const float> row) {
  std::vector<TokenId> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  const std::size_t kept = std::min(kRemembered, row.size());
  const auto logit = [&](TokenId id) { return row[static_cast<std::size_t>(id)]; };
  std::partial_sort(
      ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept), ids.end(),
      [&](TokenId a, TokenId b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
  ids.resize(kept);
  return ids;
}

/// log p of `ids`; \return the logarithm of what the others have.
double log_shares(std::span<const float> row, std::span<const TokenId> ids,
                  std::vector<double>& log_p) {
  const double norm = runtime::log_sum_exp(row, [](double x) { return std::exp(x); });
  double mass = 0;
  log_p.clear();
  for (const TokenId id : ids) {
    log_p.push_back(static_cast<double>(row[static_cast<std::size_t>(id)]) - norm);
    mass += std::exp(log_p.back());
  }
  return log_remainder(mass);
}

std::size_t longest_of(const TokenWindows& windows) {
  std::size_t longest = 0;
  for (const auto& window : windows) longest = std::max(longest, window.size());
  return longest;
}

Result<Session> open_session(const Model& model, std::size_t longest, KvType kv) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(longest);
  options.output_rows = 64;
  options.kv = kv;
  return Session::create(model, options);
}

}  // namespace

Result<OutputDistance> OutputDistance::create(const Model& model, TokenWindows windows, KvType kv) {
  OutputDistance made;
  made.kv_ = kv;
  const std::size_t longest = longest_of(windows);
  if (model.is_encoder()) {
    EncoderOptions options;
    options.max_tokens = static_cast<std::int64_t>(longest);
    options.logits = false;
    QUERN_TRY(encoder, Encoder::create(model, options));
    made.encoder_.emplace(std::move(encoder));
  } else {
    QUERN_TRY(session, open_session(model, longest, kv));
    made.session_.emplace(std::move(session));
  }
  made.windows_ = std::move(windows);
  QUERN_CHECK(made.remember());
  return made;
}

Status OutputDistance::change_cache(KvType kv) {
  if (!session_) return {};
  const Model model = session_->model();
  session_.reset();
  replay_.reset();
  replayed_layer_ = 0;
  kv_ = kv;
  QUERN_TRY(session, open_session(model, longest_of(windows_), kv));
  session_.emplace(std::move(session));
  return {};
}

Status OutputDistance::expect_change_of(std::string_view matrix) {
  if (!session_ || session_->model().is_encoder_decoder()) return {};
  const Model model = session_->model();
  const std::int32_t layer = first_layer_of(*model.state().graph, matrix);
  if (layer == replayed_layer_ && layer > 0) return {};
  replay_.reset();
  replayed_layer_ = layer;
  if (layer == 0) return {};
  auto made = LayerReplay::create(model, windows_, layer, kv_);
  if (made.ok())
    replay_.emplace(std::move(made).value());
  else if (made.error().code != ErrorCode::kUnsupported)
    return std::move(made).error();
  return {};
}

/// Calls take(row) for every scored row of logits, in order.
template <class Take>
Status OutputDistance::visit_logits(const Take& take) {
  if (replay_) return replay_->visit(take);
  const auto vocab = static_cast<std::size_t>(session_->model().vocab_size());
  for (const auto& window : windows_) {
    QUERN_CHECK(
        evaluate_window(*session_, window, [&](std::size_t, std::span<const float> rows) -> Status {
          for (; rows.size() >= vocab; rows = rows.subspan(vocab)) take(rows.first(vocab));
          return {};
        }));
  }
  return {};
}

/// Calls take(window, hidden states) in order.
template <class Take>
Status OutputDistance::visit_hidden(const Take& take) {
  std::vector<EncoderInput> inputs;
  for (const auto& window : windows_) inputs.push_back({window, {}});
  return encoder_->run(inputs, [&](std::size_t index, const EncoderOutput& output) -> Status {
    take(index, output.hidden);
    return {};
  });
}

Status OutputDistance::remember() {
  if (encoder_) {
    hidden_.resize(windows_.size());
    return visit_hidden([&](std::size_t index, std::span<const float> hidden) {
      hidden_[index].assign(hidden.begin(), hidden.end());
    });
  }
  return visit_logits([&](std::span<const float> row) {
    TopTokens top;
    top.ids = most_likely(row);
    top.log_rest = log_shares(row, top.ids, top.log_p);
    rows_.push_back(std::move(top));
  });
}

Result<double> OutputDistance::measure() {
  if (encoder_) {
    double error = 0, square = 0;
    QUERN_CHECK(visit_hidden([&](std::size_t index, std::span<const float> hidden) {
      for (std::size_t i = 0; i < hidden.size(); ++i) {
        const double was = static_cast<double>(hidden_[index][i]);
        error += (static_cast<double>(hidden[i]) - was) * (static_cast<double>(hidden[i]) - was);
        square += was * was;
      }
    }));
    return square > 0 ? error / square : 0.0;
  }
  double sum = 0;
  std::size_t at = 0;
  std::vector<double> log_q;
  QUERN_CHECK(visit_logits([&](std::span<const float> row) {
    const TopTokens& top = rows_[at++];
    const double log_rest = log_shares(row, top.ids, log_q);
    double kl = std::exp(top.log_rest) * (top.log_rest - log_rest);
    for (std::size_t i = 0; i < log_q.size(); ++i) {
      kl += std::exp(top.log_p[i]) * (top.log_p[i] - log_q[i]);
    }
    sum += std::max(kl, 0.0);
  }));
  return sum / static_cast<double>(rows_.size());
}

}  // namespace quern::convert
