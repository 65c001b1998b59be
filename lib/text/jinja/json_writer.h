/// \file
/// The `tojson` of chat templates: Python's json.dumps, with provenance.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/value.h"

namespace quern::text::jinja {

/// How json.dumps is to write; the defaults are those of the `tojson` filter.
struct JsonStyle {
  std::optional<TextRef> indent;  ///< One level of indentation; absent: one line.
  TextRef item_separator;         ///< null: ", ", or "," with indent
  TextRef key_separator;          ///< null: ": "
  bool ensure_ascii = false;
  bool sort_keys = false;
};

/// Appends `value` as JSON. Errors: kInvalidArgument for what JSON cannot hold.
Status append_json(Interp& interp, TextBuilder& out, const Value& value, const JsonStyle& style);

}  // namespace quern::text::jinja
