/// \file
/// Arithmetic, comparison and membership as in Python; integers have 64 bits and overflow is
/// kOutOfRange.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

/// One of kAdd … kPower. The result is of the user if an operand is.
Result<Value> arithmetic(Interp& interp, Operator op, const Value& a, const Value& b);
Result<Value> negate(const Value& value);
/// One of kEqual … kNotIn.
Result<bool> compare(Interp& interp, Operator op, const Value& a, const Value& b);
Result<bool> equal(Interp& interp, const Value& a, const Value& b);
/// \return a < b; an error for types without order.
Result<bool> less(Interp& interp, const Value& a, const Value& b);
Result<bool> contains(Interp& interp, const Value& container, const Value& item);
/// HTML-escapes what is not markup yet, as Markup's operators do with their other operand.
Result<Value> escape(Interp& interp, const Value& value);

}  // namespace quern::text::jinja
