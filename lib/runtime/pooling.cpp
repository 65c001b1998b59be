#include "runtime/pooling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "quern/encoder.h"

namespace quern {
namespace runtime {
namespace {

constexpr std::array<std::pair<const char*, Pooling>, 4> kWords = {{
    {"mean", Pooling::kMean},
    {"first", Pooling::kFirst},
    {"last", Pooling::kLast},
    {"max", Pooling::kMax},
}};

}  // namespace

Result<Pooling> parse_pooling(const std::string& word) {
  for (const auto& [name, pooling] : kWords) {
    if (word == name) return pooling;
  }
  return Error(ErrorCode::kUnsupported, "this pooling is not implemented")
      .of("embedding.pooling")
      .want("mean, first, last or max")
      .got(word.substr(0, 64));
}

}  // namespace runtime

std::vector<float> pool_embedding(std::span<const float> hidden, std::size_t dim,
                                  const EmbeddingOptions& options) {
  const std::size_t rows = hidden.size() / dim;
  const auto row = [&](std::size_t i) { return hidden.subspan(i * dim, dim); };
  const std::span<const float> start = row(options.pooling == Pooling::kLast ? rows - 1 : 0);
  std::vector<float> sum(start.begin(), start.end());
  const bool all = options.pooling == Pooling::kMean || options.pooling == Pooling::kMax;
  for (std::size_t i = 1; all && i < rows; ++i) {
    for (std::size_t d = 0; d < dim; ++d) {
      const float x = row(i)[d];
      sum[d] = options.pooling == Pooling::kMean ? sum[d] + x : std::max(sum[d], x);
    }
  }
  double divisor = options.pooling == Pooling::kMean ? static_cast<double>(rows) : 1.0;
  if (options.normalize) {
    double square = 0;
    for (const float x : sum) square += static_cast<double>(x) * static_cast<double>(x);
    divisor = std::max(std::sqrt(square), 1e-12);  // A zero vector stays one.
  }
  for (float& x : sum) x = static_cast<float>(static_cast<double>(x) / divisor);
  return sum;
}

}  // namespace quern
