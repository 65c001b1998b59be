/// \file
/// Token windows on which a model is observed while it is quantized.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "convert/tensor_stream.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

using TokenWindows = std::vector<std::vector<TokenId>>;

/// Tokens of a window: 512, or what the model reads at most.
std::size_t window_tokens(const Model& model);

/// Up to `count` windows of `length` tokens, spread evenly over the text of a file (without BOS,
/// control tokens read as letters). Errors: kIo; kMissing for a model without tokenizer;
/// kInvalidArgument for a text shorter than one window, with both numbers of tokens.
Result<TokenWindows> read_windows(const Model& model, const std::string& path, std::size_t length,
                                  std::size_t count);

/// Windows that a decoder writes itself, to be calibrated on.
inline constexpr std::size_t kOwnWindows = 8;

/// The same from the model's own mouth, for want of a text: drawn at temperature 1 from a fixed
/// seed each; ids spread over the vocabulary for an encoder. The same on every machine. Errors:
/// those of the session; kCancelled.
Result<TokenWindows> write_windows(const Model& model, std::size_t length, std::size_t count,
                                   ProgressMeter& meter);

}  // namespace quern::convert
