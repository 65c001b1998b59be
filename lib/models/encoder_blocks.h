/// \file
/// The blocks that encoders share. An architecture's file puts them together.
#pragma once

#include <string_view>

#include "graph/builder.h"
#include "models/architecture.h"
#include "models/blocks.h"

namespace quern::models {

/// The dimensions of an encoder, read from a canonical configuration and checked.
struct EncoderDims {
  std::int64_t vocab_size, dim, embed_dim, n_layers, n_heads, head_dim, ffn_dim;
  std::int64_t n_positions, position_offset, n_types;  ///< n_types 0: no token types.
  float norm_eps;
  graph::Activation activation;

  static Result<EncoderDims> read(const Config& config);
};

/// What a family's attention has beyond Vaswani et al. 2017, eq. 1.
struct EncoderAttention {
  graph::ValueId angles = graph::kNone;  ///< Rotary.
  float scale = 0.0F;                    ///< 0: 1/√head_dim.
  std::int64_t window = 0;               ///< Rows seen on either side; 0: all.
  graph::RelativeBias bias = {};
  graph::Disentangled disentangled = {};
};

/// Layer norm by `name`, with a bias where the file has one.
graph::ValueId encoder_norm(graph::GraphBuilder& g, const EncoderDims& dims, graph::ValueId x,
                            std::string_view name, std::int64_t n);

/// Token embedding, plus that of its type where there are types, plus that of its position where
/// `positions`.
graph::ValueId encoder_embedding(graph::GraphBuilder& g, const EncoderDims& dims,
                                 graph::WeightId embed, bool positions);

/// residual + wo · attention(wq·h, wk·h, wv·h).
graph::ValueId encoder_attention(graph::GraphBuilder& g, const EncoderDims& dims,
                                 std::int64_t layer, graph::ValueId h, graph::ValueId residual,
                                 const EncoderAttention& options);

/// residual + w_down · f(w_up·h), or with f(w_gate·h) · (w_up·h) inside.
graph::ValueId encoder_mlp(graph::GraphBuilder& g, const EncoderDims& dims, std::int64_t layer,
                           graph::ValueId h, graph::ValueId residual, bool gated);

/// One layer of BERT's kind: norms after the residual sums (Devlin et al. 2019, "BERT").
graph::ValueId post_norm_layer(graph::GraphBuilder& g, const EncoderDims& dims, std::int64_t layer,
                               graph::ValueId x, const EncoderAttention& options,
                               bool gated = false);

/// Makes the outputs: "last_hidden_state" `[T, dim]`; "logits", of the rows whose output was asked
/// for (masked words `[outputs, vocab]`, labels of tokens `[outputs, n_labels]`) or of each
/// sequence
/// `[sequences, n_labels]`; for a base model with a pooler "pooler_output" `[sequences, dim]`.
/// A head is: pooling (`head.pooling`: "first", "mean" or "last"), `head.dense`, `head.activation`,
/// `head.norm`, `head.out` or `lm_head`, each where the file has it.
Status encoder_head(graph::GraphBuilder& g, const EncoderDims& dims, const Config& config,
                    graph::WeightId embed, graph::ValueId x);

/// The whole of BERT's kind: embedding and its norm, post-norm layers, head.
Result<graph::Graph> build_post_norm_encoder(const Config& config, const WeightLookup& weights);

}  // namespace quern::models
