/// \file
/// Lets a decoder write several texts at once.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "convert/tensor_stream.h"
#include "quern/model.h"
#include "quern/result.h"
#include "quern/sampling.h"

namespace quern::convert {

/// Draws from all tokens by what the model says.
SamplingOptions free_choice(std::uint64_t seed);

/// Continues each of `texts` up to `length` tokens, drawn by free_choice(`seed` + i); ends of text
/// are drawn too and gone past. The bits are those of one session a text, but the weights are read
/// once a step for all. \pre the texts are of one length, at least 1 and at most `length`. Errors:
/// those of Session; kCancelled.
Status write_on(const Model& model, std::size_t length, std::uint64_t seed,
                std::span<std::vector<TokenId>> texts, ProgressMeter& meter);

}  // namespace quern::convert
