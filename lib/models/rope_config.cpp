#include "models/rope_config.h"

#include <array>
#include <string>

#include "base/scalar_math.h"
#include "models/config_io.h"

namespace quern::models {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kDefaultTheta = 10000.0;

/// Scaling values by canonical name (after "rope.") and Hugging Face name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kScalingKeys = {{
    {"factor", "factor"},
    {"low_freq_factor", "low_freq_factor"},
    {"high_freq_factor", "high_freq_factor"},
    {"original_max_seq_len", "original_max_position_embeddings"},
}};

/// Where Hugging Face keeps the scaling values: rope_parameters.<section>., rope_parameters. or
/// rope_scaling.
std::string scaling_prefix(const Config& source, std::string_view section) {
  const std::string nested = "rope_parameters." + std::string(section) + ".";
  if (!section.empty() && source.has(nested + "rope_theta")) return nested;
  if (source.has("rope_parameters.rope_theta") || source.has("rope_parameters.rope_type"))
    return "rope_parameters.";
  return "rope_scaling.";
}

Status read_hf(const Config& source, std::string_view section, Config& config) {
  const std::string prefix = scaling_prefix(source, section);
  QUERN_TRY(top_theta, source.number_or("rope_theta", kDefaultTheta));
  QUERN_TRY(theta, source.number_or(prefix + "rope_theta", top_theta));
  QUERN_TRY(old_type, source.string_or(prefix + "type", "default"));
  QUERN_TRY(type, source.string_or(prefix + "rope_type", old_type));
  config.set("rope.theta", theta);
  if (type == "default") {
    config.set("rope.type", std::string("none"));
    return {};
  }
  if (type != "linear" && type != "llama3") {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of(prefix + "rope_type")
        .want("default, linear or llama3")
        .got(type);
  }
  config.set("rope.type", type);
  for (const auto& [ours, theirs] : kScalingKeys) {
    if (type == "linear" && ours != "factor") continue;
    const std::string key = prefix + std::string(theirs);
    QUERN_TRY(value, source.number(key));
    config.set("rope." + std::string(ours), value);
  }
  return {};
}

Status read_gguf(const Config& source, std::string_view arch, Config& config) {
  const std::string prefix = std::string(arch) + ".rope.";
  QUERN_TRY(theta, source.number_or(prefix + "freq_base", kDefaultTheta));
  config.set("rope.theta", theta);
  QUERN_TRY(type, source.string_or(prefix + "scaling.type", "none"));
  QUERN_TRY(factor, source.number_or(prefix + "scaling.factor", 1.0));
  const ConfigList factors = source.list("rope_freqs.weight");
  if (!factors.empty()) {
    if (type != "none") {
      return Error(ErrorCode::kUnsupported,
                   "rope scaling together with frequency factors is not implemented")
          .of(prefix + "scaling.type")
          .got(type);
    }
    config.set("rope.type", std::string("factors"));
    config.set("rope.factors", factors);
    return {};
  }
  if (type != "none" && type != "linear") {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of(prefix + "scaling.type")
        .want("none or linear")
        .got(type);
  }
  config.set("rope.type", type);
  if (type == "linear") config.set("rope.factor", factor);
  return {};
}

/// What Llama 3.1 divides a frequency by.
Result<double> llama3_divisor(const Config& config, double inv_freq) {
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(low, config.number("rope.low_freq_factor"));
  QUERN_TRY(high, config.number("rope.high_freq_factor"));
  QUERN_TRY(original, config.number("rope.original_max_seq_len"));
  if (!(factor > 0) || !(low > 0) || !(high > low) || !(original > 0)) {
    return Error(ErrorCode::kOutOfRange, "rope scaling values do not fit together").of("rope");
  }
  const double wavelength = 2.0 * kPi / inv_freq;
  if (wavelength > original / low) return factor;
  if (wavelength < original / high) return 1.0;
  const double smooth = (original / wavelength - low) / (high - low);
  return 1.0 / ((1.0 - smooth) / factor + smooth);
}

Result<std::vector<double>> divisors(const Config& config, const std::vector<float>& plain) {
  QUERN_TRY(type, config.string_or("rope.type", "none"));
  std::vector<double> values(plain.size(), 1.0);
  if (type == "linear") {
    QUERN_TRY(factor, config.number("rope.factor"));
    if (!(factor > 0))
      return Error(ErrorCode::kOutOfRange, "a rope factor is not positive").of("rope.factor");
    values.assign(plain.size(), factor);
  } else if (type == "llama3") {
    for (std::size_t i = 0; i < plain.size(); ++i) {
      QUERN_TRY(divisor, llama3_divisor(config, static_cast<double>(plain[i])));
      values[i] = divisor;
    }
  } else if (type == "factors") {
    const ConfigList factors = config.list("rope.factors");
    if (factors.size() != plain.size()) {
      return Error(ErrorCode::kMismatch, "the number of rope factors is wrong")
          .of("rope.factors")
          .want(std::to_string(plain.size()))
          .got(std::to_string(factors.size()));
    }
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const auto* value = std::get_if<double>(&factors[i]);
      const auto* whole = std::get_if<std::int64_t>(&factors[i]);
      values[i] = value != nullptr ? *value : whole != nullptr ? static_cast<double>(*whole) : 0.0;
      if (!(values[i] > 0))
        return Error(ErrorCode::kOutOfRange, "a rope factor is not positive").of("rope.factors");
    }
  } else if (type != "none") {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of("rope.type")
        .got(type);
  }
  return values;
}

}  // namespace

Status read_rope(const Config& source, SourceKind kind, std::string_view gguf_arch,
                 std::string_view section, Config& config) {
  return kind == SourceKind::kHuggingFace ? read_hf(source, section, config)
                                          : read_gguf(source, gguf_arch, config);
}

Status write_gguf_rope(const Config& config, std::string_view gguf_arch, Config& out) {
  const std::string prefix = std::string(gguf_arch) + ".rope.";
  QUERN_TRY(theta, config.number_or("rope.theta", kDefaultTheta));
  QUERN_TRY(type, config.string_or("rope.type", "none"));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  out.set(prefix + "freq_base", theta);
  out.set(prefix + "dimension_count", head_dim);
  if (type == "linear") {
    QUERN_TRY(factor, config.number("rope.factor"));
    out.set(prefix + "scaling.type", std::string("linear"));
    out.set(prefix + "scaling.factor", factor);
  } else if (type == "llama3" || type == "factors") {
    QUERN_TRY(values, divisors(config, plain_frequencies(theta, head_dim)));
    out.set("rope_freqs.weight", ConfigList(values.begin(), values.end()));
  }
  return {};
}

std::vector<float> plain_frequencies(double theta, std::int64_t head_dim) {
  std::vector<float> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
    frequencies[i] = static_cast<float>(1.0 / base::pow(theta, exponent));
  }
  return frequencies;
}

Result<std::vector<float>> rope_frequencies(const Config& config, std::int64_t head_dim) {
  QUERN_TRY(theta, config.number_or("rope.theta", kDefaultTheta));
  if (!(theta > 0))
    return Error(ErrorCode::kOutOfRange, "rope theta is not positive").of("rope.theta");
  std::vector<float> frequencies = plain_frequencies(theta, head_dim);
  QUERN_TRY(values, divisors(config, frequencies));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = static_cast<float>(static_cast<double>(frequencies[i]) / values[i]);
  }
  return frequencies;
}

}  // namespace quern::models
