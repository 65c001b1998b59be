#include "backends/relative_positions.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/scalar_math.h"

namespace quern::backends {
namespace {

/// The float32 nearest to log(x): the buckets' borders are defined in float32 arithmetic.
float log32(float x) noexcept { return static_cast<float>(base::log(static_cast<double>(x))); }

}  // namespace

std::int64_t relative_bucket(std::int64_t distance, std::int64_t n_buckets,
                             std::int64_t max_distance, bool bidirectional) noexcept {
  std::int64_t base = 0;
  if (bidirectional) {
    n_buckets /= 2;
    base = distance > 0 ? n_buckets : 0;
    distance = std::abs(distance);
  } else {
    distance = std::max<std::int64_t>(0, -distance);
  }
  const std::int64_t exact = n_buckets / 2;
  if (distance < exact) return base + distance;
  const auto border = static_cast<float>(exact);
  const float share =
      log32(static_cast<float>(distance) / border) /
      static_cast<float>(base::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const auto step = static_cast<std::int64_t>(share * static_cast<float>(n_buckets - exact));
  return base + std::min(n_buckets - 1, exact + step);
}

DistanceBias::DistanceBias(const graph::RelativeBias& bias, const quant::TensorView& table,
                           const kernels::KernelTable& kernels, std::int64_t back,
                           std::int64_t ahead)
    : back_(back),
      stride_(back + 1 + ahead + kernels::kKvBlock),
      values_(static_cast<std::size_t>(table.cols * stride_)) {
  std::vector<float> heads(static_cast<std::size_t>(table.cols));
  for (std::int64_t distance = -back; distance <= ahead; ++distance) {
    kernels.gather_row[static_cast<std::size_t>(table.encoding)](
        table.data,
        relative_bucket(distance, bias.n_buckets, bias.max_distance, bias.bidirectional),
        table.cols, heads.data());
    for (std::size_t head = 0; head < heads.size(); ++head) {
      values_[head * static_cast<std::size_t>(stride_) +
              static_cast<std::size_t>(back + distance)] = heads[head];
    }
  }
}

std::int64_t log_bucket(std::int64_t distance, std::int64_t n_buckets,
                        std::int64_t max_distance) noexcept {
  const std::int64_t middle = n_buckets / 2;
  const std::int64_t length = std::abs(distance);
  if (n_buckets <= 0 || length <= middle) return distance;
  const auto border = static_cast<float>(middle);
  const float share = log32(static_cast<float>(length) / border) /
                      log32(static_cast<float>(static_cast<double>(max_distance - 1) /
                                               static_cast<double>(middle)));
  const auto bucket =
      static_cast<std::int64_t>(std::ceil(share * static_cast<float>(middle - 1))) + middle;
  return distance < 0 ? -bucket : bucket;
}

}  // namespace quern::backends
