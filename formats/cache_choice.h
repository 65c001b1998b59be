/// \file
/// The cache section of a `.quern` file: which key/value cache its weights bear, and what was
/// measured to know. One JSON object:
/// `{"version": 1, "kv": KvType's number, "tokens", "kl_divergence": {"f16", "q8"}}`
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "quern/kv_type.h"
#include "quern/result.h"

namespace quern::formats {

struct CacheChoice {
  KvType kv = KvType::kF16;  ///< Of a session that names none; never kAuto.
  std::int64_t tokens = 0;   ///< That were scored.
  /// Mean divergence of the next token's distribution from that over a float32 cache, nats a token.
  double f16 = 0, q8 = 0;
  bool operator==(const CacheChoice&) const = default;
};

inline constexpr std::uint32_t kCacheChoiceVersion = 1;

/// \return the section's bytes: JSON, the same for the same value.
std::string write_cache_choice(const CacheChoice& choice);

/// Reads a section. \param file names the container in errors. Errors: kMalformed, kMissing,
/// kLimit, kOutOfRange; kUnsupported (a version that is newer).
Result<CacheChoice> read_cache_choice(std::span<const std::byte> section, std::string_view file);

}  // namespace quern::formats
