// Falcon (Almazrouei et al. 2023, "The Falcon Series of Open Language Models") in its three
// layouts: one layer norm or two before attention and MLP side by side, or (Falcon-RW) one after
// the other with ALiBi instead of rotary.
#include "models/alibi.h"
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "falcon";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_erf",
      "activation",
      {{"n_kv_heads", "num_kv_heads", "attention.head_count_kv", false},
       {"ffn_dim", "ffn_hidden_size", "feed_forward_length", false},
       {"max_seq_len", "max_position_embeddings", "context_length", false,
        ConfigValue(std::int64_t{2048})},
       layer_norm_eps_key("layer_norm_epsilon"),
       {"alibi", "alibi", "", false, ConfigValue(false)},
       {"bias.qkv", "bias", "", false, ConfigValue(false)},
       {"bias.wo", "bias", "", false, ConfigValue(false)},
       {"bias.ffn", "bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// `norms.two` before attention and MLP side by side, `norms.sequential`, or one for both.
void set_norms(bool parallel, bool two, Config& config) {
  config.set("norms.two", parallel && two);
  config.set("norms.sequential", !parallel);
}

Status read_hf(const Config& source, Config& config) {
  QUERN_TRY(is_new, source.boolean_or("new_decoder_architecture", false));
  QUERN_TRY(multi_query, source.boolean_or("multi_query", true));
  QUERN_TRY(parallel, source.boolean_or("parallel_attn", true));
  QUERN_TRY(norms, source.integer_or("num_ln_in_parallel_attn", is_new ? 2 : 1));
  const ConfigValue own = multi_query ? ConfigValue(std::int64_t{1}) : *config.find("n_heads");
  if (!is_new) config.set("n_kv_heads", own);
  if (is_new || multi_query)  // A head of keys has one column of biases.
    QUERN_CHECK(refuse(source, "alibi", "ALiBi over shared keys is not implemented"));
  if (is_new && !parallel) {
    return Error(ErrorCode::kUnsupported, "this order of blocks is not implemented")
        .of("parallel_attn")
        .got("false with new_decoder_architecture");
  }
  if (!is_new && parallel && norms == 2)
    QUERN_CHECK(refuse(source, "num_ln_in_parallel_attn", "two norms are not implemented here"));
  set_norms(parallel, norms == 2, config);
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  Config meant = source;
  for (const auto& [old_name, name] :
       {std::pair("n_layer", "num_hidden_layers"), std::pair("n_head", "num_attention_heads"),
        std::pair("n_embed", "hidden_size"), std::pair("n_head_kv", "num_kv_heads")}) {
    if (source.has(old_name) && !source.has(name)) meant.set(name, *source.find(old_name));
  }
  QUERN_TRY(config, read_decoder_config(meant, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  if (kind == SourceKind::kHuggingFace) {
    QUERN_CHECK(read_hf(source, config));
  } else {
    set_norms(true, source.has("blk.0.attn_norm_2.weight"), config);
  }
  QUERN_CHECK(set_kv_group(config));
  config.set("architecture", std::string("falcon"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(alibi, config.boolean_or("alibi", false));
  QUERN_TRY(sequential, config.boolean_or("norms.sequential", false));
  if (alibi || sequential) {
    return Error(ErrorCode::kUnsupported, "GGUF knows Falcon with parallel blocks and rotary only")
        .of(alibi ? "alibi" : "parallel_attn");
  }
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

/// GGUF calls the norm before attention `attn_norm_2` where there are two.
std::vector<TensorRule> falcon_norms() {
  std::vector<TensorRule> rules;
  const auto add = [&rules](std::string_view name, std::string_view bias, const std::string& hf,
                            std::string_view gguf, std::string_view gguf_bias,
                            std::string_view when) {
    rules.push_back(norm_rule(name, hf + ".weight", gguf, "dim"));
    rules.back().when = when;
    rules.push_back(norm_rule(bias, hf + ".bias", gguf_bias, "dim"));
    rules.back().when = when;
  };
  add("layers.{}.attn_norm", "layers.{}.attn_norm.bias", "h.{}.input_layernorm",
      "blk.{}.attn_norm.weight", "blk.{}.attn_norm.bias", "!norms.two");
  add("layers.{}.attn_norm", "layers.{}.attn_norm.bias", "h.{}.ln_attn",
      "blk.{}.attn_norm_2.weight", "blk.{}.attn_norm_2.bias", "norms.two");
  add("layers.{}.ffn_norm", "layers.{}.ffn_norm.bias", "h.{}.ln_mlp", "blk.{}.attn_norm.weight",
      "blk.{}.attn_norm.bias", "norms.two");
  add("layers.{}.ffn_norm", "layers.{}.ffn_norm.bias", "h.{}.post_attention_layernorm",
      "blk.{}.ffn_norm.weight", "blk.{}.ffn_norm.bias", "norms.sequential");
  return rules;
}

const std::vector<TensorRule>& tensors() {
  static const std::string kQkv = "h.{}.self_attention.query_key_value";
  static const std::vector<TensorRule> kRules = decoder_tensors({.embed = "word_embeddings",
                                                                 .attn_norm = "",
                                                                 .wq = kQkv,
                                                                 .wk = kQkv,
                                                                 .wv = kQkv,
                                                                 .wo = "h.{}.self_attention.dense",
                                                                 .ffn_norm = "",
                                                                 .w_gate = "",
                                                                 .w_up = "h.{}.mlp.dense_h_to_4h",
                                                                 .w_down = "h.{}.mlp.dense_4h_to_h",
                                                                 .norm = "ln_f",
                                                                 .hf_qkv = FusedQkv::kPerGroup,
                                                                 .gguf_qkv = FusedQkv::kInOrder},
                                                                falcon_norms());
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(alibi, config.boolean_or("alibi", false));
  QUERN_TRY(sequential, config.boolean_or("norms.sequential", false));
  DecoderLayout layout{.norm = NormKind::kLayer, .parallel = !sequential, .gated = false};
  if (alibi) {
    QUERN_TRY(n_heads, config.integer("n_heads"));
    QUERN_TRY(slopes, alibi_slopes(n_heads, AlibiOrder::kPowersFirst));
    layout.attention.rounded_slopes = std::move(slopes);
    layout.rotary = false;
  }
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kFalcon;
const Architecture kFalcon = {
    "falcon", {"FalconForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
