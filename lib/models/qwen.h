/// \file
/// What Qwen 2 and Qwen 3 share.
#pragma once

#include <string_view>

#include "models/blocks.h"

namespace quern::models {

/// Llama's keys, and the window of the layers from `max_window_layers` on where
/// `use_sliding_window`.
Result<Config> read_qwen_config(const Config& source, SourceKind kind, std::string_view gguf_arch);
Result<Config> write_gguf_qwen_config(const Config& config, std::string_view gguf_arch);

}  // namespace quern::models
