// Gemma 3n, text (Google 2025): alternating updates over several streams, learned low-rank
// residuals, an embedding per layer, activations of which few are kept, late layers that read the
// keys and values of earlier ones. The graph is in gemma3n_graph.cpp.
#include "models/gemma3n.h"

#include <algorithm>

#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

/// `{e}`: each extra stream's matrix lies in a tensor of its own; GGUF stacks them.
TensorRule stream_rule(std::string_view name, std::string hf, std::string_view gguf) {
  TensorRule rule = matrix_rule(name, std::move(hf), gguf, "dim", "dim");
  rule.count = "altup.extra";
  rule.when = "altup.many";
  return rule;
}

/// A small table whose numbers weigh whole streams: never quantized.
TensorRule exact_rule(std::string_view name, std::string hf, std::string_view gguf,
                      std::string_view rows, std::string_view cols) {
  TensorRule rule = matrix_rule(name, std::move(hf), gguf, rows, cols);
  rule.role = Role::kExact;
  return rule;
}

std::vector<TensorRule> layer_tensors() {
  const std::string altup = "layers.{}.altup.", laurel = "layers.{}.laurel.";
  std::vector<TensorRule> rules = qk_norm_tensors();
  rules.back().when = "own_kv";
  rules.back().gguf_wants_all = true;
  const std::vector<TensorRule> own = {
      norm_rule("layers.{}.altup_router_norm", altup + "router_norm.weight",
                "blk.{}.altup_router_norm.weight", "dim"),
      exact_rule("layers.{}.altup_router", altup + "modality_router.weight",
                 "blk.{}.altup_router.weight", "altup.streams", "dim"),
      exact_rule("layers.{}.altup_predict", altup + "prediction_coefs.weight",
                 "blk.{}.altup_predict_coef.weight", "altup.streams*altup.streams",
                 "altup.streams"),
      exact_rule("layers.{}.altup_correct", altup + "correction_coefs.weight",
                 "blk.{}.altup_correct_coef.weight", "altup.streams", "altup.streams"),
      norm_rule("layers.{}.altup_correct_scale", altup + "correct_output_scale",
                "blk.{}.altup_correct_scale.weight", "dim"),
      matrix_rule("layers.{}.laurel_left", laurel + "linear_left.weight", "blk.{}.laurel_l.weight",
                  "laurel_rank", "dim"),
      matrix_rule("layers.{}.laurel_right", laurel + "linear_right.weight",
                  "blk.{}.laurel_r.weight", "dim", "laurel_rank"),
      norm_rule("layers.{}.laurel_norm", laurel + "post_laurel_norm.weight",
                "blk.{}.laurel_post_norm.weight", "dim"),
      matrix_rule("layers.{}.per_layer_gate", "layers.{}.per_layer_input_gate.weight",
                  "blk.{}.inp_gate.weight", "per_layer_dim", "dim"),
      matrix_rule("layers.{}.per_layer_proj", "layers.{}.per_layer_projection.weight",
                  "blk.{}.proj.weight", "dim", "per_layer_dim"),
      norm_rule("layers.{}.per_layer_norm", "layers.{}.post_per_layer_input_norm.weight",
                "blk.{}.post_norm.weight", "dim")};
  rules.insert(rules.end(), own.begin(), own.end());
  return rules;
}

/// What stands before the layers, after the embedding.
std::vector<TensorRule> first_tensors() {
  TensorRule table =
      matrix_rule("per_layer_embed", "embed_tokens_per_layer.weight", "per_layer_token_embd.weight",
                  "per_layer_vocab", "n_layers*per_layer_dim");
  table.role = Role::kEmbedding;
  table.gguf_filled_rows = "vocab_size";
  return {std::move(table),
          matrix_rule("per_layer_model_proj", "per_layer_model_projection.weight",
                      "per_layer_model_proj.weight", "n_layers*per_layer_dim", "dim"),
          norm_rule("per_layer_proj_norm", "per_layer_projection_norm.weight",
                    "per_layer_proj_norm.weight", "per_layer_dim"),
          stream_rule("altup_proj", "altup_projections.{e}.weight", "altup_proj.weight")};
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules =
        decoder_tensors({.attn_post_norm = "layers.{}.post_attention_layernorm",
                         .ffn_norm = "layers.{}.pre_feedforward_layernorm",
                         .ffn_post_norm = "layers.{}.post_feedforward_layernorm"},
                        layer_tensors());
    for (const char* name : {"layers.{}.wk", "layers.{}.wv"}) {
      rule_of(rules, name).when = "own_kv";
      rule_of(rules, name).gguf_wants_all = true;
    }
    for (const char* name : {"layers.{}.wk.bias", "layers.{}.wv.bias"})
      rule_of(rules, name).when = "bias.kv";
    const std::vector<TensorRule> first = first_tensors();
    rules.insert(rules.begin() + 1, first.begin(), first.end());
    const auto head = std::find_if(rules.begin(), rules.end(),
                                   [](const TensorRule& rule) { return rule.name == "norm"; });
    rules.insert(head, stream_rule("altup_unembed", "altup_unembed_projections.{e}.weight",
                                   "altup_unembd_proj.weight"));
    return rules;
  }();
  return kRules;
}

}  // namespace

extern const Architecture kGemma3n;
const Architecture kGemma3n = {"gemma3n",
                               {"Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"},
                               {kGemma3nGguf},
                               read_gemma3n_config,
                               write_gemma3n_gguf_config,
                               tensors,
                               build_gemma3n};

}  // namespace quern::models
