#include "formats/section_fields.h"

#include <charconv>
#include <limits>
#include <utility>

namespace quern::formats {

Error SectionFields::error(ErrorCode code, std::string message, const char* key) const {
  return Error(code, std::move(message) + " " + std::string(section_))
      .in_file(std::string(file_))
      .of(key);
}

Error SectionFields::malformed(const char* key, std::string want) const {
  return error(ErrorCode::kMalformed, "a key has the wrong type in", key).want(std::move(want));
}

Result<const Json*> SectionFields::find(const char* key) const {
  const Json* found = object_.find(key);
  if (found == nullptr) return error(ErrorCode::kMissing, "a key is missing in", key);
  return found;
}

Result<std::string> SectionFields::text(const char* key) const {
  QUERN_TRY(value, find(key));
  if (!value->is_string()) return malformed(key, "a string");
  return value->string();
}

Result<bool> SectionFields::boolean(const char* key) const {
  QUERN_TRY(value, find(key));
  if (!value->is_boolean()) return malformed(key, "true or false");
  return value->boolean();
}

Result<std::uint64_t> SectionFields::whole(const char* key, std::uint64_t least,
                                           std::uint64_t most) const {
  QUERN_TRY(value, find(key));
  if (!value->is_integer()) return malformed(key, "a whole number");
  const std::uint64_t number = value->unsigned_integer();
  if (value->is_unsigned() && number >= least && number <= most) return number;
  return error(ErrorCode::kOutOfRange, "a number is out of range in", key)
      .want(std::to_string(least) + " … " + std::to_string(most))
      .got(dump_json(*value));
}

Result<double> SectionFields::magnitude(const char* key) const {
  QUERN_TRY(value, find(key));
  if (!value->is_number()) return malformed(key, "a number");
  if (value->number() >= 0) return value->number();
  return error(ErrorCode::kOutOfRange, "a number is out of range in", key)
      .want("a number from 0 on")
      .got(dump_json(*value));
}

Result<const Json*> SectionFields::list(const char* key, std::size_t most) const {
  QUERN_TRY(value, find(key));
  if (!value->is_array()) return malformed(key, "a list");
  if (value->size() <= most) return value;
  return error(ErrorCode::kLimit, "a list is too long in", key)
      .want("at most " + std::to_string(most))
      .got(std::to_string(value->size()));
}

Result<std::uint64_t> SectionFields::hash(const char* key) const {
  QUERN_TRY(digits, text(key));
  std::uint64_t value = 0;
  const auto end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value, 16);
  if (digits.size() == 16 && parsed.ec == std::errc() && parsed.ptr == end) return value;
  return malformed(key, "16 hexadecimal digits");
}

Status SectionFields::check_version(std::uint32_t known) const {
  QUERN_TRY(version, whole("version", 0, std::numeric_limits<std::uint32_t>::max()));
  if (version == known) return {};
  return error(ErrorCode::kUnsupported, "quern does not know this version of", "version")
      .want(std::to_string(known))
      .got(std::to_string(version));
}

}  // namespace quern::formats
