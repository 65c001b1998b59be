/// \file
/// Fill-in-the-middle: what code models write between a prefix and a suffix.
///
/// Such a model was trained on documents whose middle was moved to the end, behind control tokens
/// (Bavarian et al. 2022, arXiv:2207.14255). The tokens and their order are each family's own.
#pragma once

#include <string_view>
#include <vector>

#include "quern/model.h"

namespace quern {

struct FillInPrompt {
  std::vector<TokenId> ids;         ///< The prompt whose continuation is the middle.
  std::vector<TokenId> end_tokens;  ///< End the middle, besides the model's own; ascending.
};

/// The prompt for what stands between `prefix` and `suffix`, which are text alone: control tokens
/// written in them are not recognised. The tokens are those that the model's GGUF named, else those
/// that its vocabulary holds under a name that published models use. Errors: kMissing for a model
/// without a tokenizer; kUnsupported for one whose vocabulary has no such tokens; kOutOfRange for
/// an id of the generation section outside the vocabulary. Thread rule: any thread.
Result<FillInPrompt> fill_in_prompt(const Model& model, std::string_view prefix,
                                    std::string_view suffix);

}  // namespace quern
