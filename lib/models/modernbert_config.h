/// \file
/// The configuration of ModernBERT.
#pragma once

#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

inline constexpr std::string_view kModernBertGguf = "modern-bert";

/// Canonical keys of its own: `layer_windows` (rows seen on either side, 0: all), `rope.theta` and
/// `rope.local_theta`, `attention_bias`, `mlp_bias`, `norm_bias`, lists `attn_norms` and
/// `attn_norm_biases` (the first layer has none), `head.dense_bias`, `head.norm_bias`,
/// `head.decoder_bias`.
Result<Config> read_modernbert_config(const Config& source, SourceKind kind);

/// As Architecture's. Refuses by name a head and an activation that llama.cpp does not have.
Result<Config> write_modernbert_gguf_config(const Config& config);

/// The list `layer_windows`, checked: one per layer, none negative.
Result<std::vector<std::int64_t>> modernbert_windows(const Config& config, std::int64_t n_layers);

}  // namespace quern::models
