/// \file
/// Rotary position embeddings: their configuration in both spellings, and their frequencies.
#pragma once

#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// How a family spells its rotary configuration where it differs from most.
struct RopeSpelling {
  std::string_view gguf_arch;
  std::string_view section = {};  ///< A nested part of `rope_parameters` ("full_attention").
  double theta = 10000.0;         ///< Where a checkpoint does not say.
  double partial = 1.0;           ///< The rotated part of a head, likewise.
  std::string_view hf_theta = "rope_theta";
  std::string_view hf_partial = "partial_rotary_factor";
};

/// Reads theta, rotated dimensions and scaling into `rope.*`: type "none", "linear", "llama3",
/// "yarn", "longrope", or "factors" (GGUF's list), with their values. "dynamic" is "none": within
/// max_seq_len, beyond which no session goes, it changes nothing. Other types are kUnsupported by
/// name. Hugging Face: `rope_parameters` wins over `rope_theta` and `rope_scaling`. \pre `config`
/// holds head_dim and max_seq_len.
Status read_rope(const Config& source, SourceKind kind, const RopeSpelling& spelling,
                 Config& config);

/// Canonical `rope.*` → GGUF keys; Llama 3's scaling becomes the list `rope_freqs.weight`,
/// longrope's `rope_factors_long.weight` and `rope_factors_short.weight`.
Status write_gguf_rope(const Config& config, std::string_view gguf_arch, Config& out);

/// The angles of `rope.dim` (or `head_dim`) / 2 pairs, scaled as `rope.*` says (Su et al. 2021,
/// "RoFormer", eq. 15; Llama 3.1's wavelength-dependent interpolation; Peng et al. 2023, "YaRN";
/// Ding et al. 2024, "LongRoPE").
Result<graph::RopeAnglesOp> rope_angles(const Config& config, std::int64_t head_dim);

/// 1 / theta^(2i/n) for i < n/2, without scaling.
std::vector<float> plain_frequencies(double theta, std::int64_t head_dim);

}  // namespace quern::models
