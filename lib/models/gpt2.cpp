// GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): learned
// positions, layer norms, a plain MLP; matrices stored [in, out].
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "gpt2";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_tanh",
      "activation_function",
      {{"dim", "n_embd", "embedding_length"},
       {"n_layers", "n_layer", "block_count"},
       {"n_heads", "n_head", "attention.head_count"},
       {"n_kv_heads", "", "attention.head_count_kv", false},
       {"ffn_dim", "n_inner", "feed_forward_length", false},
       {"max_seq_len", "n_positions", "context_length"},
       layer_norm_eps_key("layer_norm_epsilon"),
       {"scaled_attention", "scale_attn_weights", "attention.scaled", false, ConfigValue(true)},
       {"inverse_layer_scale", "scale_attn_by_inverse_layer_idx", "attention.inverse_layer_scale",
        false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(refuse(source, "add_cross_attention", "cross attention is not implemented here"));
  config.set("architecture", std::string("gpt2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_gguf_decoder_config(config, spelling());
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string qkv = "h.{}.attn.c_attn";
    std::vector<TensorRule> rules = decoder_tensors({.embed = "wte",
                                                     .attn_norm = "h.{}.ln_1",
                                                     .wq = qkv,
                                                     .wk = qkv,
                                                     .wv = qkv,
                                                     .wo = "h.{}.attn.c_proj",
                                                     .ffn_norm = "h.{}.ln_2",
                                                     .w_gate = "",
                                                     .w_up = "h.{}.mlp.c_fc",
                                                     .w_down = "h.{}.mlp.c_proj",
                                                     .norm = "ln_f",
                                                     .hf_qkv = FusedQkv::kInOrder,
                                                     .gguf_qkv = FusedQkv::kInOrder,
                                                     .hf_matrix = Transform::kTranspose});
    add_positions(rules, "wpe.weight", "max_seq_len");
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout{.norm = NormKind::kLayer, .gated = false, .rotary = false};
  QUERN_TRY(scaled, config.boolean_or("scaled_attention", true));
  QUERN_TRY(by_layer, config.boolean_or("inverse_layer_scale", false));
  QUERN_TRY(rows, config.integer("max_seq_len"));
  if (!scaled) layout.attention.scale = 1.0F;
  layout.scale_by_layer = by_layer;
  layout.position_rows = rows;
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kGpt2;
const Architecture kGpt2 = {
    "gpt2", {"GPT2LMHeadModel"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
