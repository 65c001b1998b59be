/// \file
/// What `embed`, `rerank` and `logits` share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "input.h"
#include "quern/encoder.h"

namespace quern::cli {

/// What --pooling says, e.g. "mean" or "cls,max". Errors: kInvalidArgument.
Status read_poolings(std::string_view words, EmbeddingOptions& out);

/// Texts of a JSON Lines file: each line an object with `text`, or a string. Errors: kMalformed
/// naming the line.
Result<std::vector<std::string>> read_texts(const std::string& path);

/// A row of numbers as a JSON array that reads back to the same float32.
Json to_json(std::span<const float> values);

}  // namespace quern::cli
