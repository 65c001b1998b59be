// BLOOM (BigScience 2022, "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model"):
// ALiBi, a norm after the embedding, biases everywhere.
#include "models/alibi.h"
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "bloom";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_tanh",
      "",
      {{"n_layers", "n_layer", "block_count"},
       {"n_heads", "n_head", "attention.head_count"},
       {"n_kv_heads", "", "attention.head_count_kv", false},
       {"ffn_dim", "", "feed_forward_length", false},
       {"max_seq_len", "seq_length", "context_length", false, ConfigValue(std::int64_t{2048})},
       layer_norm_eps_key("layer_norm_epsilon"),
       {"residual_from_norm", "apply_residual_connection_post_layernorm", "residual_from_norm",
        false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  Config meant = source;
  for (const auto& [old_name, name] :
       {std::pair("n_embed", "hidden_size"), std::pair("num_hidden_layers", "n_layer"),
        std::pair("num_attention_heads", "n_head")}) {
    if (source.has(old_name) && !source.has(name)) meant.set(name, *source.find(old_name));
  }
  QUERN_TRY(ranks, source.integer_or("pretraining_tp", 1));
  if (ranks > 1)  // Its sums of parts leave the biases out.
    QUERN_CHECK(refuse(source, "slow_but_exact", "sums over ranks are not implemented for BLOOM"));
  QUERN_TRY(config, read_decoder_config(meant, kind, spelling()));
  QUERN_CHECK(set_kv_group(config));
  config.set("architecture", std::string("bloom"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_gguf_decoder_config(config, spelling());
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string qkv = "h.{}.self_attention.query_key_value";
    std::vector<TensorRule> rules = decoder_tensors({.embed = "word_embeddings",
                                                     .attn_norm = "h.{}.input_layernorm",
                                                     .wq = qkv,
                                                     .wk = qkv,
                                                     .wv = qkv,
                                                     .wo = "h.{}.self_attention.dense",
                                                     .ffn_norm = "h.{}.post_attention_layernorm",
                                                     .w_gate = "",
                                                     .w_up = "h.{}.mlp.dense_h_to_4h",
                                                     .w_down = "h.{}.mlp.dense_4h_to_h",
                                                     .norm = "ln_f",
                                                     .hf_qkv = FusedQkv::kPerGroup,
                                                     .gguf_qkv = FusedQkv::kInOrder});
    const std::string norm = "word_embeddings_layernorm";
    rules.insert(rules.begin() + 1,
                 {norm_rule("embed_norm", norm + ".weight", "token_embd_norm.weight", "dim"),
                  norm_rule("embed_norm.bias", norm + ".bias", "token_embd_norm.bias", "dim")});
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(from_norm, config.boolean_or("residual_from_norm", false));
  QUERN_TRY(slopes, alibi_slopes(n_heads, AlibiOrder::kPowersFirst));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .gated = false,
                        .residual_from_norm = from_norm,
                        .attention = {.alibi_slopes = std::move(slopes)},
                        .rotary = false,
                        .embed_norm = true});
}

}  // namespace

extern const Architecture kBloom;
const Architecture kBloom = {
    "bloom", {"BloomForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
