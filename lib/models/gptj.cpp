// GPT-J (Wang and Komatsuzaki 2021, "GPT-J-6B"): attention and MLP side by side after one layer
// norm, rotary pairs of neighbours in the first part of every head, a bias on the output.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{"gptj",
                                         "gelu_tanh",
                                         "activation_function",
                                         {{"dim", "n_embd", ""},
                                          {"n_layers", "n_layer", ""},
                                          {"n_heads", "n_head", ""},
                                          {"n_kv_heads", "", "", false},
                                          {"ffn_dim", "n_inner", "", false},
                                          {"max_seq_len", "n_positions", ""},
                                          {"rope.dim", "rotary_dim", ""},
                                          layer_norm_eps_key("layer_norm_epsilon")}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  config.set("architecture", std::string("gptj"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({.embed = "wte",
                                                                 .attn_norm = "h.{}.ln_1",
                                                                 .wq = "h.{}.attn.q_proj",
                                                                 .wk = "h.{}.attn.k_proj",
                                                                 .wv = "h.{}.attn.v_proj",
                                                                 .wo = "h.{}.attn.out_proj",
                                                                 .ffn_norm = "",
                                                                 .w_gate = "",
                                                                 .w_up = "h.{}.mlp.fc_in",
                                                                 .w_down = "h.{}.mlp.fc_out",
                                                                 .norm = "ln_f"});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .parallel = true,
                        .gated = false,
                        .attention = {.interleaved = true}});
}

}  // namespace

extern const Architecture kGptj;
const Architecture kGptj = {"gptj", {"GPTJForCausalLM"}, {}, read_config, nullptr, tensors, build};

}  // namespace quern::models
