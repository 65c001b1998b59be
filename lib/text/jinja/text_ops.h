/// \file
/// What filters and methods do with strings, keeping provenance. Arguments of type Value are
/// strings.
#pragma once

#include <cstdint>
#include <vector>

#include "text/jinja/value.h"

namespace quern::text::jinja {

enum class CaseChange : std::uint8_t { kLower, kUpper, kTitle, kCapitalize, kSwap };

Result<Value> change_case(Interp& interp, const Value& text, CaseChange change);
/// Strips white space, or the characters in `chars` if not null.
Result<Value> strip(Interp& interp, const Value& text, const Text* chars, bool left, bool right);
/// Replaces at most `count` occurrences (negative: all).
Result<Value> replace(Interp& interp, const Value& text, const Text& from, const Text& to,
                      std::int64_t count);
/// Splits at `separator` (null: at runs of white space), at most `count` times (negative: all),
/// counted from the right if `from_right`.
Result<std::vector<Value>> split(Interp& interp, const Value& text, const Text* separator,
                                 std::int64_t count, bool from_right);
Result<std::vector<Value>> split_lines(Interp& interp, const Value& text, bool keep_ends);
/// Pads to `width` code points with `fill`, `before` of the missing ones in front.
enum class Pad : std::uint8_t { kLeft, kRight, kBoth };
Result<Value> pad(Interp& interp, const Value& text, std::int64_t width, Pad where,
                  const Text* fill);
/// Joins the printed items.
Result<Value> join(Interp& interp, const Value& separator, const std::vector<Value>& items);
/// A list of strings.
Result<Value> list_of(Interp& interp, std::vector<Value> items);

}  // namespace quern::text::jinja
