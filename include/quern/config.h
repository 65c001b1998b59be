/// \file
/// A configuration: a flat, sorted map from dotted keys to scalars and lists of scalars.
/// Nested JSON objects become dotted keys (`rope_parameters.rope_theta`), GGUF metadata are flat
/// already.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "quern/result.h"

namespace quern {

struct ConfigValue;
/// A type of its own: libstdc++ 12 takes a variant of scalars, strings and vectors alone for one
/// that always has a value, so that an allocation failing while it is copied destroys what was
/// never made.
struct ConfigList : std::vector<ConfigValue> {
  using vector::vector;
};
/// One configuration value. Lists hold scalars only (lists of objects are not configuration).
struct ConfigValue
    : std::variant<std::monostate, bool, std::int64_t, double, std::string, ConfigList> {
  using variant::variant;
  bool is_null() const noexcept { return index() == 0; }
};

/// Value type; copies are deep. Thread rule: as std::map.
class Config {
 public:
  void set(std::string key, ConfigValue value);
  /// \return nullptr where the key is absent. A null value is returned as such.
  const ConfigValue* find(std::string_view key) const;
  /// \return whether the key is present and not null.
  bool has(std::string_view key) const;

  // Typed access: an absent or null key, or another type, is kMissing or kMalformed naming the key.
  // Integers are accepted where a float is asked, never the reverse (except integral floats).
  Result<std::int64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string> string(std::string_view key) const;
  // The same with a default for an absent or null key.
  Result<std::int64_t> integer_or(std::string_view key, std::int64_t fallback) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string> string_or(std::string_view key, std::string fallback) const;
  /// \return the list, a scalar as a list of one, or an empty list where the key is absent.
  ConfigList list(std::string_view key) const;

  const std::map<std::string, ConfigValue, std::less<>>& items() const noexcept { return items_; }

 private:
  std::map<std::string, ConfigValue, std::less<>> items_;
};

}  // namespace quern
