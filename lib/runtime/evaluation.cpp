#include "quern/evaluation.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/guard.h"
#include "runtime/log_sum_exp.h"
#include "runtime/window_feed.h"

namespace quern {
namespace {

std::size_t argmax(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

double norm_of(std::span<const float> row) {
  return runtime::log_sum_exp(row, [](double x) { return std::exp(x); });
}

/// KL(p ‖ q) of two rows of logits, never negative.
double divergence(std::span<const float> p, std::span<const float> q, double q_norm) {
  const double p_norm = norm_of(p);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = static_cast<double>(p[i]) - p_norm;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - q_norm));
  }
  return std::max(sum, 0.0);
}

/// Linear interpolation between the ranks around `share`. \pre sorted, not empty.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

Status check_target(std::span<const float> row, TokenId target) {
  if (target >= 0 && static_cast<std::size_t>(target) < row.size()) return {};
  return Error(ErrorCode::kMismatch, "the tokenizer has tokens that the model lacks")
      .of("ids")
      .want("below " + std::to_string(row.size()))
      .got(std::to_string(target));
}

}  // namespace

Result<double> log_likelihood_of(std::span<const float> row, TokenId target) {
  return base::guarded([&]() -> Result<double> {
    QUERN_CHECK(check_target(row, target));
    return static_cast<double>(row[static_cast<std::size_t>(target)]) - norm_of(row);
  });
}

Status LogitsScore::add(std::span<const float> row, TokenId target) { return add(row, target, {}); }

Status LogitsScore::add(std::span<const float> row, TokenId target,
                        std::span<const float> reference) {
  return base::guarded([&]() -> Status {
    QUERN_CHECK(check_target(row, target));
    const double norm = norm_of(row);
    if (!reference.empty()) {
      if (reference.size() != row.size()) {
        return Error(ErrorCode::kMismatch, "the reference is of another vocabulary")
            .of("reference")
            .want(std::to_string(row.size()) + " logits")
            .got(std::to_string(reference.size()));
      }
      divergences_.push_back(divergence(reference, row, norm));
      agreed_ += argmax(reference) == argmax(row) ? 1 : 0;
    }
    nll_ += norm - static_cast<double>(row[static_cast<std::size_t>(target)]);
    ++tokens_;
    return {};
  });
}

LogitsQuality LogitsScore::result() const {
  LogitsQuality quality;
  quality.tokens = tokens_;
  if (tokens_ > 0) quality.perplexity = std::exp(nll_ / static_cast<double>(tokens_));
  quality.compared = static_cast<std::int64_t>(divergences_.size());
  if (divergences_.empty()) return quality;
  std::vector<double> sorted = divergences_;
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (const double value : divergences_) sum += value;
  quality.kl_mean = sum / static_cast<double>(sorted.size());
  quality.kl_p99 = percentile(sorted, 0.99);
  quality.kl_max = sorted.back();
  quality.top1_agreement = static_cast<double>(agreed_) / static_cast<double>(sorted.size());
  return quality;
}

Status evaluate_window(
    Session& session, std::span<const TokenId> window,
    const std::function<Status(std::size_t first, std::span<const float> rows)>& sink) {
  return base::guarded([&]() -> Status {
    QUERN_TRY(feed, runtime::feed_window(session, window));
    return session.step_all(feed.ids, [&](std::int64_t first, std::span<const float> rows) {
      return sink(feed.first + static_cast<std::size_t>(first), rows);
    });
  });
}

}  // namespace quern
