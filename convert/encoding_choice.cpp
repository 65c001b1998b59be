#include "convert/encoding_choice.h"

#include <algorithm>

namespace quern::convert {
namespace {

/// Damage saved per byte from one offer to a larger one.
double slope(const EncodingOffer& from, const EncodingOffer& to) {
  return (from.damage - to.damage) / static_cast<double>(to.bytes - from.bytes);
}

/// The offers worth having, from small to large: each step saves less per byte than the one before.
std::vector<EncodingOffer> lower_hull(std::vector<EncodingOffer> offers) {
  std::stable_sort(offers.begin(), offers.end(), [](const auto& a, const auto& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.damage < b.damage;
  });
  std::vector<EncodingOffer> hull;
  for (const EncodingOffer& offer : offers) {
    if (!hull.empty() && (offer.bytes == hull.back().bytes || offer.damage >= hull.back().damage)) {
      continue;
    }
    while (hull.size() >= 2 &&
           slope(hull[hull.size() - 2], hull.back()) <= slope(hull.back(), offer)) {
      hull.pop_back();
    }
    hull.push_back(offer);
  }
  return hull;
}

/// One tensor's way along its hull.
struct Ladder {
  std::vector<EncodingOffer> hull;
  std::size_t at = 0;     ///< On the frontier.
  std::size_t taken = 0;  ///< Within the budget: stays behind once a step did not fit.
};

/// The ladder whose next step saves the most per byte, or nullptr.
Ladder* best_step(std::vector<Ladder>& ladders) {
  Ladder* best = nullptr;
  double most = 0;
  for (Ladder& ladder : ladders) {
    if (ladder.at + 1 == ladder.hull.size()) continue;
    const double saved = slope(ladder.hull[ladder.at], ladder.hull[ladder.at + 1]);
    if (best != nullptr && saved <= most) continue;
    best = &ladder;
    most = saved;
  }
  return best;
}

SizePoint after(const SizePoint& sum, const EncodingOffer& from, const EncodingOffer& to) {
  return {sum.bytes + (to.bytes - from.bytes), sum.damage - from.damage + to.damage};
}

}  // namespace

std::uint64_t smallest_bytes(std::span<const TensorOffers> tensors) {
  std::uint64_t sum = 0;
  for (const TensorOffers& tensor : tensors) sum += lower_hull(tensor.offers).front().bytes;
  return sum;
}

ChosenEncodings choose_encodings(std::span<const TensorOffers> tensors, std::uint64_t budget) {
  std::vector<Ladder> ladders;
  ChosenEncodings result;
  for (const TensorOffers& tensor : tensors) {
    ladders.push_back({lower_hull(tensor.offers)});
    result.sum.bytes += ladders.back().hull.front().bytes;
    result.sum.damage += ladders.back().hull.front().damage;
  }
  result.frontier.push_back(result.sum);
  while (Ladder* ladder = best_step(ladders)) {
    const EncodingOffer& from = ladder->hull[ladder->at];
    const EncodingOffer& to = ladder->hull[ladder->at + 1];
    result.frontier.push_back(after(result.frontier.back(), from, to));
    const SizePoint larger = after(result.sum, from, to);
    if (ladder->taken == ladder->at && larger.bytes <= budget) {
      result.sum = larger;
      ++ladder->taken;
    }
    ++ladder->at;
  }
  for (const Ladder& ladder : ladders) result.chosen.push_back(ladder.hull[ladder.taken]);
  return result;
}

}  // namespace quern::convert
