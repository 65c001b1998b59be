#include "formats/cache_choice.h"

#include <limits>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/quern_layout.h"

namespace quern::formats {
namespace {

/// Errors name the container, the section and the key.
class Keys {
 public:
  Keys(const Json& object, std::string_view file) : object_(object), file_(file) {}

  Result<std::uint64_t> whole(const char* key, std::uint64_t low, std::uint64_t high) const {
    QUERN_TRY(value, find(key));
    if (value->is_unsigned() && value->unsigned_integer() >= low &&
        value->unsigned_integer() <= high)
      return value->unsigned_integer();
    return error(ErrorCode::kOutOfRange, "a value of the cache section is out of range", key)
        .want(std::to_string(low) + " … " + std::to_string(high))
        .got(dump_json(*value));
  }
  Result<double> divergence(const char* key) const {
    QUERN_TRY(value, find(key));
    if (value->is_number() && value->number() >= 0) return value->number();
    return error(ErrorCode::kOutOfRange, "a value of the cache section is out of range", key)
        .want("a number from 0 on")
        .got(dump_json(*value));
  }
  Result<const Json*> find(const char* key) const {
    const Json* found = object_.is_object() ? object_.find(key) : nullptr;
    if (found != nullptr) return found;
    return error(ErrorCode::kMissing, "the cache section lacks a key", key);
  }

 private:
  Error error(ErrorCode code, const char* what, const char* key) const {
    return Error(code, what).in_file(std::string(file_)).of(key);
  }

  const Json& object_;
  std::string_view file_;
};

}  // namespace

std::string write_cache_choice(const CacheChoice& choice) {
  return dump_json({{"version", kCacheChoiceVersion},
                    {"kv", static_cast<std::uint32_t>(choice.kv)},
                    {"tokens", static_cast<std::uint64_t>(choice.tokens)},
                    {"kl_divergence", {{"f16", choice.f16}, {"q8", choice.q8}}}});
}

Result<CacheChoice> read_cache_choice(std::span<const std::byte> section, std::string_view file) {
  JsonLimits limits;
  limits.max_bytes = kQuernMaxCacheBytes;
  QUERN_TRY(root, parse_json(as_text(section), file, limits));
  const Keys keys(root, file);
  QUERN_TRY(version, keys.whole("version", 0, std::numeric_limits<std::uint32_t>::max()));
  if (version != kCacheChoiceVersion) {
    return Error(ErrorCode::kUnsupported, "the cache section is of another version")
        .in_file(std::string(file))
        .of("version")
        .want(std::to_string(kCacheChoiceVersion))
        .got(std::to_string(version));
  }
  CacheChoice choice;
  QUERN_TRY(kv, keys.whole("kv", static_cast<std::uint64_t>(KvType::kF32),
                           static_cast<std::uint64_t>(KvType::kQ4)));
  QUERN_TRY(tokens, keys.whole("tokens", 0, std::numeric_limits<std::int32_t>::max()));
  QUERN_TRY(divergence, keys.find("kl_divergence"));
  const Keys measured(*divergence, file);
  QUERN_TRY(f16, measured.divergence("f16"));
  QUERN_TRY(q8, measured.divergence("q8"));
  choice.kv = static_cast<KvType>(kv);
  choice.tokens = static_cast<std::int64_t>(tokens);
  choice.f16 = f16;
  choice.q8 = q8;
  return choice;
}

}  // namespace quern::formats
