/// \file
/// The two stacks of an encoder–decoder (Vaswani et al. 2017, "Attention Is All You Need"). An
/// architecture's file says what its own are like.
#pragma once

#include <cstdint>
#include <string>

#include "graph/builder.h"
#include "models/architecture.h"
#include "models/blocks.h"

namespace quern::models {

/// How both stacks are put together. Their dimensions stand in the configuration: `dim`,
/// `norm_eps`, `activation`, and for the decoder `vocab_size`, `n_layers`, `n_heads`, `head_dim`,
/// `ffn_dim`, for the encoder the same under `encoder.`.
struct EncoderDecoderLayout {
  NormKind norm = NormKind::kRms;
  bool norm_first = true;    ///< x + f(norm(x)), and a norm at the end; else norm(x + f(x)).
  bool gated = false;        ///< The MLP has a gate.
  float score_scale = 0.0F;  ///< Of scores; 0: 1/√head_dim.
  float embed_scale = 1.0F;
  float logit_scale = 1.0F;
  bool embed_norm = false;
  std::int64_t position_rows = 0;  ///< Of the tables of learned positions; 0: there are none.
  std::int64_t position_offset = 0;
  bool sinusoids = false;
  /// Of self-attention, without its table: `rel_bias` and `encoder.rel_bias`, or the same of every
  /// layer.
  graph::RelativeBias bias = {};
  bool layers_have_bias = false;
  bool shared_embedding = true;  ///< Else the encoder's is `encoder.embed`.
};

/// The encoder: its output "last_hidden_state" `[T, dim]`; with a decoder in the configuration
/// (`n_layers`) also the keys and values of the decoder's cross-attention, one source state a
/// layer.
Result<graph::Graph> build_source(const Config& config, const WeightLookup& weights,
                                  const EncoderDecoderLayout& layout);

/// The decoder: source states first, output "logits" `[outputs, vocab_size]`.
Result<graph::Graph> build_target(const Config& config, const WeightLookup& weights,
                                  const EncoderDecoderLayout& layout);

/// Both stacks in one graph without a cache: the decoder is taught the source itself, behind
/// `decoder_start_token_id`, and a head reads its states (encoder_head). No relative bias.
Result<graph::Graph> build_classifier(const Config& config, const WeightLookup& weights,
                                      const EncoderDecoderLayout& layout);

/// build_source and build_target with the layout that `read` finds in a configuration: an
/// Architecture's functions.
template <Result<EncoderDecoderLayout> (*read)(const Config&)>
Result<graph::Graph> build_source_of(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(layout, read(config));
  return build_source(config, weights, layout);
}
template <Result<EncoderDecoderLayout> (*read)(const Config&)>
Result<graph::Graph> build_target_of(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(layout, read(config));
  return build_target(config, weights, layout);
}

}  // namespace quern::models
