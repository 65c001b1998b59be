/// \file
/// What DeepSeek V2 and V3 share: latent attention, fine-grained experts, their configuration.
#pragma once

#include "models/config_io.h"
#include "models/mixture.h"

namespace quern::models {

inline constexpr std::string_view kDeepseekGguf = "deepseek2";  ///< Of V2 and V3 alike.

/// The keys of V2 and V3 beyond those of every decoder, and all that follows from them.
/// \param experts_key Hugging Face's.
Result<Config> read_deepseek_config(const Config& source, SourceKind kind,
                                    std::string_view experts_key);
/// As Architecture's. \param gating GGUF's number of the way that experts are scored.
Result<Config> write_deepseek_gguf_config(const Config& config, std::int64_t gating);
/// Latent attention, score scale and mixture into a layout.
Status read_deepseek_layout(const Config& config, DecoderLayout& layout);
/// The tensors; V3 adds its own of every layer.
std::vector<TensorRule> deepseek_tensors(std::vector<TensorRule> in_layer = {});

}  // namespace quern::models
