/// \file
/// What `embed`, `rerank` and `logits` share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "input.h"
#include "quern/encoder.h"

namespace quern::cli {

/// A word of --pooling ("mean", "cls", "last", "max"). Errors: kInvalidArgument.
Result<Pooling> pooling_of(const std::string& word);

/// Texts of a JSON Lines file: each line an object with `text`, or a string. Errors: kMalformed
/// naming the line.
Result<std::vector<std::string>> read_texts(const std::string& path);

/// A row of numbers as a JSON array that reads back to the same float32.
Json to_json(std::span<const float> values);

}  // namespace quern::cli
