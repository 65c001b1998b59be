/// \file
/// What a model's tokenizer puts in front of a text.
#pragma once

#include <vector>

#include "quern/model.h"

namespace quern::runtime {

/// The ids (BOS, or none) that the tokenizer adds in front of a text by itself; what it adds behind
/// one is not part of a prompt. Errors: kMissing for a model without a tokenizer.
Result<std::vector<TokenId>> leading_ids(const Model& model);

}  // namespace quern::runtime
