/// \file
/// The blocks that decoders share. An architecture's file puts them together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/builder.h"
#include "models/architecture.h"

namespace quern::models {

/// The dimensions of a decoder, read from a canonical configuration and checked: all positive,
/// heads divisible, nothing absurd.
struct DecoderDims {
  std::int64_t vocab_size, dim, n_layers, n_heads, n_kv_heads, head_dim, ffn_dim, max_seq_len;
  float norm_eps;
  graph::Activation activation;
  std::vector<std::int64_t> windows;  ///< Per layer; 0: full attention.

  static Result<DecoderDims> read(const Config& config);
};

/// "layers.7.wq" from (7, "wq").
std::string layer_name(std::int64_t layer, std::string_view name);

struct AttentionOptions {
  float scale = 0.0F;  ///< 0: 1/√head_dim.
  float softcap = 0.0F;
  bool qk_norm = false;  ///< RMS norm of each query and key head before rotary.
};

/// RMS norm with the layer's weight `name` (Zhang and Sennrich 2019, "Root Mean Square Layer
/// Normalization").
graph::ValueId norm_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                          graph::ValueId x, std::string_view name);

/// x + wo · attention(rope(wq·h), rope(wk·h), wv·h), biases where the file has them. `residual`
/// kNone leaves x out. `angles` kNone: no rotary.
graph::ValueId attention_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                               graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                               const AttentionOptions& options);

/// x + w_down · (f(w_gate·h) · (w_up·h)) (Shazeer 2020, "GLU Variants Improve Transformer").
graph::ValueId gated_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual);

/// The last norm over the rows whose output was asked for, and the output matrix (the embedding
/// where the file has no `lm_head`); makes the graph's output "logits".
void decoder_head(graph::GraphBuilder& g, const DecoderDims& dims, graph::WeightId embed,
                  graph::ValueId x, float softcap = 0.0F);

/// The whole decoder of the Llama kind: embedding, layers of norm, attention, norm, gated MLP,
/// head.
Result<graph::Graph> build_decoder(const Config& config, const WeightLookup& weights,
                                   const AttentionOptions& attention);

}  // namespace quern::models
