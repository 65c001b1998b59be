/// \file
/// JSON through a depth- and size-limited reader. Everything in quern that parses JSON calls this.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "formats/json_value.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::formats {

struct JsonLimits {
  std::size_t max_depth = 64;          ///< Nesting of arrays and objects.
  std::size_t max_bytes = 256u << 20;  ///< Text length.
  std::size_t max_values = 32u << 20;  ///< Number of values of any kind.
};

/// Parses one JSON document (RFC 8259, UTF-8 checked; also the bare `Infinity`, `-Infinity`, `NaN`
/// that Python writes are accepted when `python_numbers`). Duplicate keys of one object are
/// kMalformed. Never throws, never recurses deeper than `max_depth`. `file` names the source in
/// errors.
Result<Json> parse_json(std::string_view text, std::string_view file, const JsonLimits& limits = {},
                        bool python_numbers = false);

/// The same for a regular file.
Result<Json> read_json_file(const std::string& path, const JsonLimits& limits = {},
                            bool python_numbers = false);

/// Flattens an object into a Config: nested objects become dotted keys, lists of scalars lists,
/// lists that hold objects or lists become one string each of their JSON text.
/// `{"__float__": "Infinity"}` (transformers 5) becomes the float.
Result<Config> flatten_json(const Json& object, std::string_view file);

/// The reverse: dotted keys stay flat keys of one object.
Json config_to_json(const Config& config);

}  // namespace quern::formats
