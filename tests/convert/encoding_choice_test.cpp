// The choice of encodings under a limit, against all combinations of small cases.
#include "convert/encoding_choice.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace quern::convert::test {
namespace {

using Tensors = std::vector<TensorOffers>;

/// Numbers of a multiplicative generator, the same on every machine.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t below(std::uint64_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % limit;
  }

 private:
  std::uint64_t state_;
};

Tensors some_tensors(std::uint64_t seed) {
  Numbers numbers(seed);
  Tensors tensors(4);
  for (TensorOffers& tensor : tensors) {
    const double weight = static_cast<double>(1 + numbers.below(1000));
    const std::uint64_t size = 10 + numbers.below(100);
    for (std::uint64_t bits = 3; bits <= 8; ++bits) {
      // Four times less damage a bit, give or take, so that hulls leave some offers out.
      const double wobble = 0.5 + static_cast<double>(numbers.below(100)) / 100;
      tensor.offers.push_back({Encoding::kQR4, size * bits,
                               weight * wobble * std::pow(0.25, static_cast<double>(bits))});
    }
  }
  return tensors;
}

/// The least damage of all combinations within `budget`.
double least_damage(const Tensors& tensors, std::uint64_t budget, std::size_t from = 0) {
  if (from == tensors.size()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const EncodingOffer& offer : tensors[from].offers) {
    if (offer.bytes > budget) continue;
    least = std::min(least, offer.damage + least_damage(tensors, budget - offer.bytes, from + 1));
  }
  return least;
}

TEST_CASE("a choice keeps to its limit and is the best on the hull of all combinations") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Tensors tensors = some_tensors(seed);
    const auto all = choose_encodings(tensors, std::uint64_t{1} << 40);
    for (const SizePoint& point : all.frontier) {
      // Every point of the frontier is the optimum of its own size.
      CHECK(point.damage == doctest::Approx(least_damage(tensors, point.bytes)).epsilon(1e-9));
      const auto exact = choose_encodings(tensors, point.bytes);
      CHECK(exact.sum.bytes == point.bytes);
    }
    for (std::uint64_t budget = all.frontier.front().bytes; budget < all.frontier.back().bytes;
         budget += 37) {
      const auto some = choose_encodings(tensors, budget);
      CHECK(some.sum.bytes <= budget);
      const auto below = std::find_if(all.frontier.rbegin(), all.frontier.rend(),
                                      [&](const SizePoint& p) { return p.bytes <= budget; });
      CHECK(some.sum.damage <= below->damage * (1 + 1e-9));
      CHECK(some.sum.damage >= least_damage(tensors, budget) * (1 - 1e-9));
      std::uint64_t bytes = 0;
      double damage = 0;
      for (const EncodingOffer& offer : some.chosen) {
        bytes += offer.bytes;
        damage += offer.damage;
      }
      CHECK(bytes == some.sum.bytes);
      CHECK(damage == doctest::Approx(some.sum.damage));
    }
  }
}

TEST_CASE("the smallest limit takes the smallest offers") {
  const Tensors tensors = some_tensors(1);
  std::uint64_t smallest = 0;
  for (const TensorOffers& tensor : tensors) smallest += tensor.offers.front().bytes;
  CHECK(smallest_bytes(tensors) == smallest);
  const auto chosen = choose_encodings(tensors, smallest);
  CHECK(chosen.sum.bytes == smallest);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CHECK(chosen.chosen[i].bytes == tensors[i].offers.front().bytes);
  }
}

TEST_CASE("an offer that is larger and no better is never chosen") {
  const Tensors tensors = {{"a", {{Encoding::kQR4, 10, 1.0}, {Encoding::kQ8_0, 20, 1.0}}},
                           {"b", {{Encoding::kQR8, 8, 0.0}}}};
  const auto chosen = choose_encodings(tensors, 1000);
  CHECK(chosen.chosen[0].encoding == Encoding::kQR4);
  CHECK(chosen.sum.bytes == 18);
  CHECK(chosen.frontier.size() == 1);
}

}  // namespace
}  // namespace quern::convert::test
