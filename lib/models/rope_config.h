/// \file
/// Rotary position embeddings: their configuration in both spellings, and their frequencies.
#pragma once

#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Reads theta and scaling into `rope.*`: type "none", "linear" or "llama3", theta, factor,
/// low_freq_factor, high_freq_factor, original_max_seq_len; or "factors" with a list. Other types
/// are kUnsupported by name. Hugging Face: `rope_parameters` wins over `rope_theta` and
/// `rope_scaling`; `section` names a nested part of it ("full_attention"), or is empty.
Status read_rope(const Config& source, SourceKind kind, std::string_view gguf_arch,
                 std::string_view section, Config& config);

/// Canonical `rope.*` → GGUF keys; Llama 3's scaling becomes the list `rope_freqs.weight`.
Status write_gguf_rope(const Config& config, std::string_view gguf_arch, Config& out);

/// Frequencies of `head_dim` / 2 pairs, scaled as `rope.*` says (Su et al. 2021, "RoFormer", eq.
/// 15; Llama 3.1's wavelength-dependent interpolation).
Result<std::vector<float>> rope_frequencies(const Config& config, std::int64_t head_dim);

/// 1 / theta^(2i/n) for i < n/2, without scaling.
std::vector<float> plain_frequencies(double theta, std::int64_t head_dim);

}  // namespace quern::models
