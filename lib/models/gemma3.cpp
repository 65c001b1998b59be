// Gemma 3, text (Gemma Team 2025, "Gemma 3 Technical Report"): norms on both sides of each block,
// norms of query and key heads, five layers with a window and their own rotary base for one with
// full attention, embeddings scaled by √dim.
#include "models/gemma3.h"

#include <cmath>

#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = kGemma3Gguf;
const DecoderSpelling kSpelling{kGguf, "gelu_tanh", "hidden_activation"};
constexpr std::int64_t kDefaultPattern = 6;  // Every sixth layer is full.
constexpr std::int64_t kDefaultWindow = 4096;
constexpr double kDefaultTheta = 1000000.0;
constexpr double kDefaultLocalTheta = 10000.0;
constexpr std::int64_t kLayersOf27B = 62;

Status read_hf(const Config& source, Config& config) {
  QUERN_TRY(old_local, source.number_or("rope_local_base_freq", kDefaultLocalTheta));
  QUERN_TRY(local, source.number_or("rope_parameters.sliding_attention.rope_theta", old_local));
  config.set("rope.local_theta", local);
  QUERN_CHECK(
      expect_value(source, "rope_parameters.sliding_attention.rope_type", std::string("default")));
  QUERN_TRY(scalar, source.number("query_pre_attn_scalar"));
  if (!(scalar > 0))
    return Error(ErrorCode::kOutOfRange, "a scale is not positive").of("query_pre_attn_scalar");
  config.set("attention_scale", 1.0 / std::sqrt(scalar));
  // transformers reads attn_logit_softcapping, and its attention does not use it.
  QUERN_TRY(logit_softcap, source.number_or("final_logit_softcapping", 0.0));
  config.set("logit_softcap", logit_softcap);
  return {};
}

Status read_gguf(const Config& source, Config& config) {
  QUERN_TRY(local, source.number_or("gemma3.rope.freq_base_swa", kDefaultLocalTheta));
  config.set("rope.local_theta", local);
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  const double width = n_layers == kLayersOf27B && n_heads > 0 ? static_cast<double>(dim / n_heads)
                                                               : static_cast<double>(head_dim);
  QUERN_TRY(scale, source.number_or("gemma3.attention.scale", 1.0 / std::sqrt(width)));
  config.set("attention_scale", scale);
  QUERN_TRY(logit_softcap, source.number_or("gemma3.final_logit_softcapping", 0.0));
  config.set("logit_softcap", logit_softcap);
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_CHECK(refuse(source, "use_bidirectional_attention",
                     "bidirectional attention is not implemented for Gemma 3's decoder"));
  QUERN_TRY(config, read_gemma3_config(source, kind));
  config.set("architecture", std::string("gemma3"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, kSpelling));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, kDefaultPattern, out));
  QUERN_TRY(local, config.number("rope.local_theta"));
  if (local != kDefaultLocalTheta) out.set("gemma3.rope.freq_base_swa", local);
  QUERN_TRY(scale, config.number("attention_scale"));
  out.set("gemma3.attention.scale", scale);
  QUERN_TRY(logit_softcap, config.number_or("logit_softcap", 0.0));
  if (logit_softcap != 0.0) out.set("gemma3.final_logit_softcapping", logit_softcap);
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = gemma3_tensors(true);
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, DecoderDims::read(config));
  QUERN_TRY(scale, config.number("attention_scale"));
  QUERN_TRY(logit_softcap, config.number_or("logit_softcap", 0.0));
  const AttentionOptions options{.scale = static_cast<float>(scale), .qk_norm = QkNorm::kHeads};
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  const auto attention = [&](std::int64_t layer, graph::ValueId h, graph::ValueId angles) {
    return attention_block(g, dims, layer, h, angles, graph::kNone, options);
  };
  QUERN_TRY(x, gemma3_layers(g, config, dims, embed, attention));
  decoder_head(g, dims, embed, x, {.logit_softcap = static_cast<float>(logit_softcap)});
  return g.finish();
}

}  // namespace

Result<Config> read_gemma3_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, kSpelling));
  QUERN_CHECK(read_rope(source, kind, {kGguf, "full_attention", kDefaultTheta}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, kDefaultPattern, config, kDefaultWindow));
  QUERN_CHECK(kind == SourceKind::kHuggingFace ? read_hf(source, config)
                                               : read_gguf(source, config));
  return config;
}

std::vector<TensorRule> gemma3_tensors(bool head) {
  // Hugging Face stores every norm minus one; GGUF stores it as it is used.
  std::vector<TensorRule> rules =
      decoder_tensors({.attn_post_norm = "layers.{}.post_attention_layernorm",
                       .ffn_norm = "layers.{}.pre_feedforward_layernorm",
                       .ffn_post_norm = "layers.{}.post_feedforward_layernorm",
                       .hf_norm = Transform::kAddOne},
                      qk_norm_tensors(Transform::kAddOne));
  if (!head)
    std::erase_if(rules, [](const TensorRule& rule) { return rule.name.starts_with("lm_head"); });
  return rules;
}

Result<graph::ValueId> gemma3_layers(graph::GraphBuilder& g, const Config& config,
                                     const DecoderDims& dims, graph::WeightId embed,
                                     const Gemma3Attention& attention) {
  QUERN_TRY(global, rope_angles(config, dims.head_dim));
  QUERN_TRY(theta, config.number("rope.local_theta"));
  if (!(theta > 0))
    return Error(ErrorCode::kOutOfRange, "rope theta is not positive").of("rope.local_theta");
  graph::ValueId x = g.embedding(embed, std::sqrt(static_cast<float>(dims.dim)));
  const graph::ValueId global_angles = g.rope_angles(std::move(global), "angles");
  const graph::ValueId local_angles =
      g.rope_angles({plain_frequencies(theta, dims.head_dim)}, "local_angles");
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    const bool local = dims.windows[static_cast<std::size_t>(layer)] > 0;
    graph::ValueId h = norm_block(g, dims, layer, x, "attn_norm");
    h = attention(layer, h, local ? local_angles : global_angles);
    x = g.add(norm_block(g, dims, layer, h, "attn_post_norm"), x, "attn_residual");
    h = gated_mlp(g, dims, layer, norm_block(g, dims, layer, x, "ffn_norm"), graph::kNone);
    x = g.add(norm_block(g, dims, layer, h, "ffn_post_norm"), x, "ffn_residual");
  }
  return x;
}

extern const Architecture kGemma3;
const Architecture kGemma3 = {
    "gemma3", {"Gemma3ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
