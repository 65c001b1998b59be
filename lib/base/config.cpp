#include "quern/config.h"

#include <cmath>

namespace quern {
namespace {

Error missing(std::string_view key) {
  return Error(ErrorCode::kMissing, "a configuration value is missing").of(std::string(key));
}

Error wrong_type(std::string_view key, const char* wanted) {
  return Error(ErrorCode::kMalformed, "a configuration value has the wrong type")
      .of(std::string(key))
      .want(wanted);
}

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53

}  // namespace

void Config::set(std::string key, ConfigValue value) {
  items_.insert_or_assign(std::move(key), std::move(value));
}

const ConfigValue* Config::find(std::string_view key) const {
  auto it = items_.find(key);
  return it == items_.end() ? nullptr : &it->second;
}

bool Config::has(std::string_view key) const {
  const ConfigValue* value = find(key);
  return value != nullptr && !value->is_null();
}

Result<std::int64_t> Config::integer(std::string_view key) const {
  if (!has(key)) return missing(key);
  const ConfigValue& value = *find(key);
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i;
  if (const auto* d = std::get_if<double>(&value)) {
    if (std::fabs(*d) <= kExactIntegers && std::floor(*d) == *d) return static_cast<std::int64_t>(*d);
  }
  return wrong_type(key, "an integer");
}

Result<double> Config::number(std::string_view key) const {
  if (!has(key)) return missing(key);
  const ConfigValue& value = *find(key);
  if (const auto* i = std::get_if<std::int64_t>(&value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value)) return *d;
  return wrong_type(key, "a number");
}

Result<bool> Config::boolean(std::string_view key) const {
  if (!has(key)) return missing(key);
  if (const auto* b = std::get_if<bool>(find(key))) return *b;
  return wrong_type(key, "true or false");
}

Result<std::string> Config::string(std::string_view key) const {
  if (!has(key)) return missing(key);
  if (const auto* s = std::get_if<std::string>(find(key))) return *s;
  return wrong_type(key, "a string");
}

Result<std::int64_t> Config::integer_or(std::string_view key, std::int64_t fallback) const {
  if (!has(key)) return fallback;
  return integer(key);
}

Result<double> Config::number_or(std::string_view key, double fallback) const {
  if (!has(key)) return fallback;
  return number(key);
}

Result<bool> Config::boolean_or(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  return boolean(key);
}

Result<std::string> Config::string_or(std::string_view key, std::string fallback) const {
  if (!has(key)) return fallback;
  return string(key);
}

ConfigList Config::list(std::string_view key) const {
  const ConfigValue* value = find(key);
  if (value == nullptr || value->is_null()) return {};
  if (const auto* l = std::get_if<ConfigList>(value)) return *l;
  return {*value};
}

}  // namespace quern
