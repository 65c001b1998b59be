/// \file
/// Attributes, subscripts, slices, length and iteration.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace quern::text::jinja {

/// `object.name`: a method or attribute, else a key; undefined where there is none. Internal
/// attributes of Python and methods that change a value are undefined, as in the sandbox.
Result<Value> get_attribute(Interp& interp, const Value& object, std::string_view name);
/// `object[key]`: an element or key, else an attribute; undefined where there is none.
Result<Value> get_item(Interp& interp, const Value& object, const Value& key);
/// `object.name` without the keys: what the filter `attr` sees.
Result<Value> get_own_attribute(Interp& interp, const Value& object, std::string_view name);

/// Bounds of a slice; absent ones are none or undefined-free defaults.
struct SliceBounds {
  std::optional<std::int64_t> start, stop, step;
};
/// `object[start:stop:step]` of a string or sequence, by code points.
Result<Value> get_slice(Interp& interp, const Value& object, const SliceBounds& bounds);
/// A part of a string by code points [begin, end).
Result<Value> substring(Interp& interp, const Value& text, std::size_t begin, std::size_t end);
/// A part of a string by bytes [begin, end).
Result<Value> byte_range(Interp& interp, const Value& text, std::size_t begin, std::size_t end);

/// \return the elements that a loop sees; uses up an iterator.
Result<std::vector<Value>> iterate(Interp& interp, const Value& value);
Result<std::int64_t> length_of(const Value& value);
bool is_iterable(const Value& value);

/// A dotted path as filters take it: "a.b.0", or an integer value.
Result<Value> get_path(Interp& interp, const Value& object, const Value& path,
                       const Value* otherwise = nullptr);

}  // namespace quern::text::jinja
