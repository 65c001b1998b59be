/// \file
/// What Qwen 2 and Qwen 3 share.
#pragma once

#include <string_view>

#include "models/blocks.h"
#include "models/config_io.h"

namespace quern::models {

/// Llama's keys, and the window of the layers from `max_window_layers` on where
/// `use_sliding_window`.
Result<Config> read_qwen_config(const Config& source, SourceKind kind, std::string_view gguf_arch);
Result<Config> write_gguf_qwen_config(const Config& config, std::string_view gguf_arch);

/// The same with the keys of a mixture beside the common ones.
Result<Config> write_gguf_qwen_config(const Config& config, const DecoderSpelling& spelling);

/// The windows of Qwen's mixtures. `alternating`: without `layer_types`, even layers below
/// `max_window_layers` have one (Qwen 2 MoE), else all layers (Qwen 3 MoE).
Status read_qwen_moe_windows(const Config& source, SourceKind kind, bool alternating,
                             Config& config);

}  // namespace quern::models
