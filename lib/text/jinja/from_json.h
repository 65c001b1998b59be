/// \file
/// The caller's variables as values.
#pragma once

#include "formats/json.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

/// Converts JSON; everything in it is marked as the user's. Errors: kLimit (nesting, bytes),
/// kOutOfRange (an integer beyond 64 bits), kInvalidArgument (no JSON value).
Result<Value> from_json(Heap& heap, const formats::Json& json, int depth = 0);

}  // namespace quern::text::jinja
