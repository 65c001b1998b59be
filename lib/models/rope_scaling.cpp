#include "models/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/scalar_math.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kDefaultTheta = 10000.0;

Error bad_scaling(const char* key) {
  return Error(ErrorCode::kOutOfRange, "rope scaling values do not fit together").of(key);
}

/// What Llama 3.1 divides a frequency by.
Result<double> llama3_divisor(const Config& config, double inv_freq) {
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(low, config.number("rope.low_freq_factor"));
  QUERN_TRY(high, config.number("rope.high_freq_factor"));
  QUERN_TRY(original, config.number("rope.original_max_seq_len"));
  if (!(factor > 0) || !(low > 0) || !(high > low) || !(original > 0)) return bad_scaling("rope");
  const double wavelength = 2.0 * kPi / inv_freq;
  if (wavelength > original / low) return factor;
  if (wavelength < original / high) return 1.0;
  const double smooth = (original / wavelength - low) / (high - low);
  return 1.0 / ((1.0 - smooth) / factor + smooth);
}

/// YaRN: slow pairs are interpolated, fast ones are not, a ramp lies between.
Result<std::vector<double>> yarn_divisors(const Config& config, std::size_t pairs) {
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(theta, config.number("rope.theta"));
  QUERN_TRY(original, config.number("rope.original_max_seq_len"));
  QUERN_TRY(fast, config.number_or("rope.beta_fast", 32.0));
  QUERN_TRY(slow, config.number_or("rope.beta_slow", 1.0));
  QUERN_TRY(truncate, config.boolean_or("rope.truncate", true));
  if (!(factor > 0) || !(theta > 1) || !(original > 0) || !(fast > 0) || !(slow > 0))
    return bad_scaling("rope");
  const double dim = 2.0 * static_cast<double>(pairs);
  const auto turning_dim = [&](double rotations) {
    return dim * base::log(original / (rotations * 2.0 * kPi)) / (2.0 * base::log(theta));
  };
  double low = turning_dim(fast), high = turning_dim(slow);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;  // As published: a ramp needs a width.
  std::vector<double> values(pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    values[i] = 1.0 / (ramp / factor + 1.0 - ramp);
  }
  return values;
}

std::vector<float> divided(std::vector<float> frequencies, const std::vector<double>& divisors) {
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = static_cast<float>(static_cast<double>(frequencies[i]) / divisors[i]);
  return frequencies;
}

}  // namespace

double yarn_mscale(double factor, double m) noexcept {
  return factor > 1.0 ? 0.1 * m * base::log(factor) + 1.0 : 1.0;
}

Result<std::vector<double>> rope_factors(const Config& config, std::string_view key,
                                         std::size_t count) {
  const ConfigList factors = config.list(key);
  if (factors.size() != count) {
    return Error(ErrorCode::kMismatch, "the number of rope factors is wrong")
        .of(std::string(key))
        .want(std::to_string(count))
        .got(std::to_string(factors.size()));
  }
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* value = std::get_if<double>(&factors[i]);
    const auto* whole = std::get_if<std::int64_t>(&factors[i]);
    values[i] = value != nullptr ? *value : whole != nullptr ? static_cast<double>(*whole) : 0.0;
    values[i] = static_cast<double>(static_cast<float>(values[i]));  // As published: float32.
    if (!(values[i] > 0))
      return Error(ErrorCode::kOutOfRange, "a rope factor is not positive").of(std::string(key));
  }
  return values;
}

Result<std::vector<double>> rope_divisors(const Config& config, const std::vector<float>& plain) {
  QUERN_TRY(type, config.string_or("rope.type", "none"));
  std::vector<double> values(plain.size(), 1.0);
  if (type == "none") return values;
  if (type == "yarn") return yarn_divisors(config, plain.size());
  if (type == "factors" || type == "longrope")
    return rope_factors(config, "rope.factors", plain.size());
  if (type == "linear") {
    QUERN_TRY(factor, config.number("rope.factor"));
    if (!(factor > 0)) return bad_scaling("rope.factor");
    values.assign(plain.size(), factor);
    return values;
  }
  if (type != "llama3") {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of("rope.type")
        .got(type);
  }
  for (std::size_t i = 0; i < plain.size(); ++i) {
    QUERN_TRY(divisor, llama3_divisor(config, static_cast<double>(plain[i])));
    values[i] = static_cast<double>(static_cast<float>(divisor));  // As GGUF keeps it.
  }
  return values;
}

std::vector<float> plain_frequencies(double theta, std::int64_t head_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
    frequencies[i] = static_cast<float>(1.0 / base::pow(theta, exponent));
  }
  return frequencies;
}

Result<graph::RopeAnglesOp> rope_angles(const Config& config, std::int64_t head_dim) {
  QUERN_TRY(theta, config.number_or("rope.theta", kDefaultTheta));
  QUERN_TRY(dim, config.integer_or("rope.dim", head_dim));
  if (!(theta > 0))
    return Error(ErrorCode::kOutOfRange, "rope theta is not positive").of("rope.theta");
  if (dim < 2 || dim > head_dim || dim % 2 != 0) {
    return Error(ErrorCode::kOutOfRange, "the rotated part of a head has a bad size")
        .of("rope.dim")
        .want("an even number up to " + std::to_string(head_dim))
        .got(std::to_string(dim));
  }
  QUERN_TRY(factor, config.number_or("rope.attention_factor", 1.0));
  const std::vector<float> plain = plain_frequencies(theta, dim);
  QUERN_TRY(divisors, rope_divisors(config, plain));
  graph::RopeAnglesOp op{divided(plain, divisors), static_cast<float>(factor)};
  if (!config.has("rope.long_factors")) return op;
  QUERN_TRY(original, config.number("rope.original_max_seq_len"));
  if (!(original >= 1 && original < 1e12)) return bad_scaling("rope.original_max_seq_len");
  QUERN_TRY(far, rope_factors(config, "rope.long_factors", plain.size()));
  op.long_inv_freq = divided(plain, far);
  op.long_after = static_cast<std::int64_t>(original);
  return op;
}

}  // namespace quern::models
