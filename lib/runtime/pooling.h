/// \file
/// Words for the kinds of pooling.
#pragma once

#include <string>

#include "quern/model.h"

namespace quern::runtime {

/// "mean", "first", "last" or "max"; kUnsupported by name for any other word.
Result<Pooling> parse_pooling(const std::string& word);

}  // namespace quern::runtime
