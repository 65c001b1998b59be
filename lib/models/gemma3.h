/// \file
/// What Gemma 3's decoder and its encoder share.
#pragma once

#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

inline constexpr std::string_view kGemma3Gguf = "gemma3";

/// Dimensions, rotary bases, windows and scales of either source. Errors: those of the parts.
Result<Config> read_gemma3_config(const Config& source, SourceKind kind);

/// Embedding, layers and the last norm; \param head the output matrix too.
std::vector<TensorRule> gemma3_tensors(bool head);

}  // namespace quern::models
