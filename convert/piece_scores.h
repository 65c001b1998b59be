/// \file
/// From a list of merges to the scores that SentencePiece's own rule asks for.
#pragma once

#include <optional>
#include <vector>

#include "formats/tokenizer_spec.h"

namespace quern::convert {

/// One score per token under which the rule of SentencePiece (of all neighbours whose text together
/// is a piece those with the best score become one, leftmost on a tie) merges what the merges do;
/// none where there are no such scores: a piece that may be put together otherwise than the merges
/// say, or pieces whose merges do not follow one another.
std::optional<std::vector<double>> piece_scores(const formats::TokenizerSpec& spec);

}  // namespace quern::convert
