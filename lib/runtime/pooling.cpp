#include "runtime/pooling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "quern/encoder.h"

namespace quern {
namespace runtime {
namespace {

constexpr std::array<std::pair<const char*, Pooling>, 6> kWords = {{
    {"mean", Pooling::kMean},
    {"first", Pooling::kFirst},
    {"last", Pooling::kLast},
    {"max", Pooling::kMax},
    {"weighted_mean", Pooling::kWeightedMean},
    {"mean_sqrt", Pooling::kMeanSqrt},
}};
constexpr std::size_t kMostPoolings = 16;

Result<Pooling> parse_pooling(const std::string& word) {
  for (const auto& [name, pooling] : kWords) {
    if (word == name) return pooling;
  }
  return Error(ErrorCode::kUnsupported, "this pooling is not implemented")
      .of("embedding.pooling")
      .want("mean, first, last, max, weighted_mean or mean_sqrt")
      .got(word.substr(0, 64));
}

/// What the sum of `rows` rows is divided by.
double divisor(Pooling pooling, std::size_t rows) {
  const auto n = static_cast<double>(rows);
  if (pooling == Pooling::kMean) return n;
  if (pooling == Pooling::kMeanSqrt) return std::sqrt(n);
  return pooling == Pooling::kWeightedMean ? n * (n + 1) / 2 : 1.0;
}

}  // namespace

Result<std::vector<Pooling>> read_poolings(const Config& config) {
  const ConfigList words = config.list("embedding.pooling");
  std::vector<Pooling> poolings;
  for (const ConfigValue& value : words) {
    const auto* word = std::get_if<std::string>(&value);
    if (word == nullptr || poolings.size() == kMostPoolings)
      return Error(ErrorCode::kMalformed, "the poolings are no short list of words")
          .of("embedding.pooling");
    QUERN_TRY(pooling, parse_pooling(*word));
    poolings.push_back(pooling);
  }
  if (poolings.empty()) poolings.push_back(Pooling::kMean);
  return poolings;
}

void append_pooled(std::span<const float> rows, std::size_t dim, Pooling pooling,
                   std::vector<float>& out) {
  const std::size_t n = rows.size() / dim;
  const auto row = [&](std::size_t i) { return rows.subspan(i * dim, dim); };
  const std::span<const float> start = row(pooling == Pooling::kLast ? n - 1 : 0);
  const std::size_t first = out.size();
  out.insert(out.end(), start.begin(), start.end());
  if (pooling == Pooling::kFirst || pooling == Pooling::kLast) return;
  const std::span<float> sum = std::span(out).subspan(first);
  for (std::size_t i = 1; i < n; ++i) {
    const float weight = pooling == Pooling::kWeightedMean ? static_cast<float>(i + 1) : 1.0F;
    for (std::size_t d = 0; d < dim; ++d) {
      const float x = row(i)[d];
      sum[d] = pooling == Pooling::kMax ? std::max(sum[d], x) : sum[d] + weight * x;
    }
  }
  const double by = divisor(pooling, n);
  for (float& x : sum) x = static_cast<float>(static_cast<double>(x) / by);
}

void make_unit(std::span<float> x) {
  double square = 0;
  for (const float value : x) square += static_cast<double>(value) * static_cast<double>(value);
  const double length = std::max(std::sqrt(square), 1e-12);  // A zero vector stays one.
  for (float& value : x) value = static_cast<float>(static_cast<double>(value) / length);
}

}  // namespace runtime

std::vector<float> pool_embedding(std::span<const float> hidden, std::size_t dim,
                                  const EmbeddingOptions& options) {
  std::vector<float> out;
  out.reserve(dim * (1 + options.joined.size()));
  runtime::append_pooled(hidden, dim, options.pooling, out);
  for (const Pooling pooling : options.joined) runtime::append_pooled(hidden, dim, pooling, out);
  if (options.normalize) runtime::make_unit(out);
  return out;
}

}  // namespace quern
