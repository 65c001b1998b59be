/// \file
/// Python's str() and repr(), with provenance.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace quern::text::jinja {

/// \return str(value); a string is returned as it is.
Result<Value> to_str(Interp& interp, const Value& value);
/// Appends str(value). Errors: kUnsupported for what prints an address in Python.
Status append_str(Interp& interp, TextBuilder& out, const Value& value);
/// Appends repr(value).
Status append_repr(Interp& interp, TextBuilder& out, const Value& value);
/// \return repr of a float: the shortest digits that read back equal.
std::string float_repr(double number);
/// \return repr of an integer, boolean, none or float.
std::string scalar_repr(const Value& value);

}  // namespace quern::text::jinja
