// MPT (MosaicML 2023, "Introducing MPT-7B"): ALiBi, layer norms without bias, a plain MLP,
// projections that may be clamped.
#include "models/alibi.h"
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "mpt";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_erf",
      "",
      {{"dim", "d_model", "embedding_length"},
       {"n_layers", "n_layers", "block_count"},
       {"n_heads", "n_heads", "attention.head_count"},
       {"n_kv_heads", "", "attention.head_count_kv", false},
       {"ffn_dim", "", "feed_forward_length", false},
       {"max_seq_len", "max_seq_len", "context_length"},
       layer_norm_eps_key("layer_norm_epsilon"),
       {"clip", "attn_config.clip_qkv", "attention.clamp_kqv", false},
       {"attention_scale", "attn_config.softmax_scale", "attention.scale", false}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(expect_value(source, "attn_config.attn_type", std::string("multihead_attention")));
  QUERN_CHECK(expect_value(source, "attn_config.alibi", true));
  QUERN_CHECK(refuse(source, "attn_config.prefix_lm", "a prefix seen by all is not implemented"));
  QUERN_CHECK(refuse(source, "attn_config.qk_ln", "norms of queries and keys are not implemented"));
  config.set("architecture", std::string("mpt"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  out.set("mpt.attention.max_alibi_bias", 8.0);
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string qkv = "blocks.{}.attn.Wqkv";
    return decoder_tensors({.embed = "wte",
                            .attn_norm = "blocks.{}.norm_1",
                            .wq = qkv,
                            .wk = qkv,
                            .wv = qkv,
                            .wo = "blocks.{}.attn.out_proj",
                            .ffn_norm = "blocks.{}.norm_2",
                            .w_gate = "",
                            .w_up = "blocks.{}.ffn.up_proj",
                            .w_down = "blocks.{}.ffn.down_proj",
                            .norm = "norm_f",
                            .hf_qkv = FusedQkv::kInOrder,
                            .gguf_qkv = FusedQkv::kInOrder});
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(scale, config.number_or("attention_scale", 0.0));
  QUERN_TRY(clip, config.number_or("clip", 0.0));
  QUERN_TRY(slopes, alibi_slopes(n_heads, AlibiOrder::kOddsFirst));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .gated = false,
                        .attention = {.scale = static_cast<float>(scale),
                                      .clip = static_cast<float>(clip),
                                      .alibi_slopes = std::move(slopes)},
                        .rotary = false});
}

}  // namespace

extern const Architecture kMpt;
const Architecture kMpt = {
    "mpt", {"MptForCausalLM", "MPTForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors,
    build};

}  // namespace quern::models
