/// \file
/// Blocks with a recurrent state in the place of attention, and their tensors.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/blocks.h"

namespace quern::models {

/// A Mamba-2 block (Dao and Gu 2024, "Transformers are SSMs").
struct Mamba2Dims {
  std::int64_t heads, head_dim, state_dim, groups, kernel;
  float norm_eps, dt_min, dt_max;
  graph::Activation activation;

  /// From the keys ssm.heads, ssm.head_dim, ssm.state_dim, ssm.groups, ssm.kernel, ssm.dt_min,
  /// ssm.dt_max, norm_eps and activation. kOutOfRange.
  static Result<Mamba2Dims> read(const Config& config);
};

/// Reads `time_step_limit`, whose infinity means no limit, into ssm.dt_min and ssm.dt_max.
Status read_time_step_limit(const Config& source, Config& config);

/// residual + out · norm(silu(z) · scan(conv(x, b, c), dt)) of the layer's "ssm_…" tensors.
graph::ValueId mamba2_block(graph::GraphBuilder& g, const Mamba2Dims& dims, std::int64_t layer,
                            graph::ValueId h, graph::ValueId residual);

/// Its tensors, under the Hugging Face stem of the block ("layers.{}.mixer") and llama.cpp's names.
/// `when` as TensorRule's.
std::vector<TensorRule> mamba2_tensors(const std::string& stem, std::string_view when);

/// The keys of a model without attention, and the numbers that llama.cpp asks for all the same.
Config write_gguf_scan_keys(std::span<const ConfigKey> keys, const Config& config,
                            std::string_view gguf_arch);

/// The list of booleans `key`, one per layer.
std::vector<bool> layer_flags(const Config& config, std::string_view key);

/// Sets `attention_layers` from `layer_types`: "full_attention" or "attention" against `other` or
/// `other_too`; kUnsupported for any other word.
Status read_attention_layers(const Config& source, std::string_view other,
                             std::string_view other_too, Config& config);

/// GGUF's `attention.head_count_kv` may have a number per layer, 0 where there is no attention.
/// Leaves in `source` the one number of the layers with attention. \return per layer whether it has
/// attention. kOutOfRange, kMismatch, kUnsupported where layers differ.
Result<ConfigList> take_attention_layers(Config& source, std::string_view gguf_arch);
/// The reverse, of `attention_layers` and `n_kv_heads`.
Status write_gguf_attention_layers(const Config& config, std::string_view gguf_arch, Config& out);

}  // namespace quern::models
