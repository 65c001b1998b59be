/// \file
/// The blocks that decoders share. An architecture's file puts them together.
#pragma once

#include <functional>
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

/// Per layer, whether it has a window.
std::vector<bool> windowed_layers(const DecoderDims& dims);

/// "layers.7.wq" from (7, "wq").
std::string layer_name(std::int64_t layer, std::string_view name);

enum class NormKind : std::uint8_t {
  kRms,    ///< Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
  kLayer,  ///< Ba et al. 2016, "Layer Normalization"; the bias where the file has one.
};

/// Norms of queries and keys.
enum class QkNorm : std::uint8_t {
  kNone,
  kHeads,           ///< Each head, before rotary; one weight for all heads, or one each.
  kHeadsAfterRope,  ///< Each head, after rotary.
  kRow,             ///< All heads together, before rotary.
};

struct AttentionOptions {
  float scale = 0.0F;  ///< 0: 1/√head_dim.
  float softcap = 0.0F;
  QkNorm qk_norm = QkNorm::kNone;
  NormKind qk_norm_kind = NormKind::kRms;
  bool qk_norm_per_head = false;  ///< Every head has weights of its own.
  bool value_norm = false;        ///< Heads of values have a norm without weights.
  bool sinks = false;             ///< Heads have attention sinks.
  bool interleaved = false;       ///< Rotary pairs are neighbours.
  float clip = 0.0F;              ///< Queries, keys and values are clamped to ±clip; 0: not.
  std::vector<float> alibi_slopes = {};    ///< Per head; empty: none.
  std::vector<float> rounded_slopes = {};  ///< The same as Falcon rounds them; one KV head each.
  /// An earlier layer's keys and values that the layer reads in the place of its own; kNone: it has
  /// its own. States are numbered in the order of the layers that have one.
  graph::StateId shared_state = graph::kNone;
};

/// Where the norms of a layer stand around attention and MLP.
enum class NormPlacement : std::uint8_t {
  kBefore,         ///< x + f(norm(x)).
  kAfter,          ///< x + norm(f(x)).
  kBoth,           ///< x + norm(f(norm(x))).
  kAfterResidual,  ///< norm(x + f(x)).
};

/// A mixture of experts (Shazeer et al. 2017, "Outrageously Large Neural Networks").
struct Mixture {
  std::int64_t n_experts = 0;  ///< 0: none.
  std::int64_t n_used = 0, ffn_dim = 0;
  std::int64_t shared_ffn_dim = 0;   ///< Of the expert that every row takes; 0: none.
  bool normalise = false;            ///< The chosen weights add up to 1.
  graph::RouteOp route = {};         ///< Scoring, groups, scale; the rest is filled in.
  std::vector<bool> layers = {};     ///< Which layers have one; empty: all.
  float limit = 0.0F, alpha = 1.0F;  ///< graph::ExpertsOp's.

  bool in_layer(std::int64_t layer) const {
    return n_experts > 0 && (layers.empty() || layers[static_cast<std::size_t>(layer)]);
  }
};

/// Latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1): queries and keys of two parts,
/// one that is rotated and one that is not; keys and values come from a narrow latent.
struct Latent {
  std::int64_t kv_rank = 0;  ///< 0: ordinary attention.
  std::int64_t q_rank = 0;   ///< 0: queries come from the layer's input.
  std::int64_t plain_dim = 0, rotated_dim = 0, value_dim = 0;
};

/// How a decoder is put together, beyond its dimensions.
struct DecoderLayout {
  NormKind norm = NormKind::kRms;
  NormPlacement placement = NormPlacement::kBefore;
  /// Attention and MLP both read the layer's input; the MLP through `ffn_norm` where the file has
  /// one, else through `attn_norm`. Only with kBefore.
  bool parallel = false;
  Mixture mixture = {};
  bool gated = true;                ///< Else a plain MLP of two matrices.
  bool residual_from_norm = false;  ///< norm(x) + f(norm(x)) (BLOOM's option).
  AttentionOptions attention = {};
  bool scale_by_layer = false;  ///< Scores of layer i are divided by i + 1 too.
  Latent latent = {};
  /// Layers without attention have this in its place: (layer, norm(x), residual) → x'.
  std::function<graph::ValueId(graph::GraphBuilder& g, std::int64_t layer, graph::ValueId h,
                               graph::ValueId residual)>
      mixer = {};
  std::vector<bool> attention_layers = {};  ///< Which layers have attention; empty: all.
  bool rotary = true;
  std::vector<bool> rotary_layers = {};  ///< Per layer; empty: all.
  float embed_scale = 1.0F;
  float residual_scale = 1.0F;  ///< Of what attention and MLP add.
  float logit_scale = 1.0F;
  float logit_softcap = 0.0F;
  std::int64_t position_rows = 0;    ///< Of the table of learned positions; 0: there is none.
  std::int64_t position_offset = 0;  ///< Row of position 0.
  bool embed_norm = false;
  bool final_norm = true;
  bool rows_selected = false;  ///< The head's input holds only the rows that are asked for.
  std::int64_t embed_dim = 0;  ///< Of the embeddings, if not dim: they are projected in and out.
};

/// The norm `name` of a value, of its whole row.
graph::ValueId norm_of(graph::GraphBuilder& g, NormKind kind, float eps, graph::ValueId x,
                       const std::string& name);

/// The layer's norm `name`.
graph::ValueId norm_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                          graph::ValueId x, std::string_view name, NormKind kind = NormKind::kRms);

/// A layer's product `name`, e.g. "layers.7.wq", with its bias where the file has one.
graph::ValueId project(graph::GraphBuilder& g, graph::ValueId h, const std::string& name,
                       std::int64_t rows, graph::ValueId residual = graph::kNone);

/// x + wo · attention(rope(wq·h), rope(wk·h), wv·h), biases where the file has them. `residual`
/// kNone leaves x out. `angles` kNone: no rotary.
graph::ValueId attention_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                               graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                               const AttentionOptions& options);

/// The same with latent attention.
graph::ValueId latent_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                            graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                            const AttentionOptions& options, const Latent& latent);

/// x + w_down · (f(w_gate·h) · (w_up·h)) (Shazeer 2020, "GLU Variants Improve Transformer").
graph::ValueId gated_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual);

/// x + w_down · f(w_up·h).
graph::ValueId plain_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual);

/// The last norm over the rows whose output was asked for, and the output matrix (the embedding
/// where the file has no `lm_head`); makes the graph's output "logits".
void decoder_head(graph::GraphBuilder& g, const DecoderDims& dims, graph::WeightId embed,
                  graph::ValueId x, const DecoderLayout& layout);

/// The whole decoder: embedding, layers of norms, attention and MLP, head.
Result<graph::Graph> build_decoder(const Config& config, const WeightLookup& weights,
                                   const DecoderLayout& layout);

}  // namespace quern::models
