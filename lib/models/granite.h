/// \file
/// What the Granite family shares: its multipliers.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "models/blocks.h"

namespace quern::models {

/// The four multipliers and the flags of biases, in both spellings.
std::vector<ConfigKey> granite_keys();
/// What llama.cpp takes where a GGUF file is silent: scores are divided by √head_dim. Refuses
/// Granite without rotary embeddings where `has_rotary_flag` is false.
Status check_gguf_granite(const Config& source, std::string_view gguf_arch, bool has_rotary_flag,
                          Config& config);
/// Names the tensors of the MLP that every row takes: `names` of its gate, up and down. Its gate
/// and up rows, `ffn_dim` each of `both`, are one tensor.
void name_granite_shared(std::vector<TensorRule>& rules, const std::array<const char*, 3>& names,
                         std::string_view ffn_dim, std::string_view both);
/// The multipliers into a layout.
Status read_granite_scales(const Config& config, DecoderLayout& layout);

}  // namespace quern::models
