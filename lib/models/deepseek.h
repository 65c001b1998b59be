/// \file
/// What DeepSeek V2 and V3 share: latent attention, fine-grained experts, their configuration.
#pragma once

#include "models/config_io.h"
#include "models/mixture.h"

namespace quern::models {

/// The keys of V2 and V3 beyond those of every decoder, and all that follows from them.
Result<Config> read_deepseek_config(const Config& source, std::string_view experts_key);
/// Latent attention, score scale and mixture into a layout.
Status read_deepseek_layout(const Config& config, DecoderLayout& layout);
/// The tensors; V3 adds its own of every layer.
std::vector<TensorRule> deepseek_tensors(std::vector<TensorRule> in_layer = {});

}  // namespace quern::models
