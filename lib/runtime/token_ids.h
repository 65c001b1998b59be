/// \file
/// The check of token ids that callers give.
#pragma once

#include <span>

#include "quern/model.h"

namespace quern::runtime {

/// kOutOfRange with the sentence `outside` where an id is none of 0 … count − 1.
Status check_token_ids(std::span<const TokenId> ids, std::int64_t count, const char* outside);

}  // namespace quern::runtime
