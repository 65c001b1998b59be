// OPT (Zhang et al. 2022, "OPT: Open Pre-trained Transformer Language Models"): learned positions
// that begin at row 2; the 350M model has its norms after the blocks and narrower embeddings.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::int64_t kFirstPosition = 2;

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      "opt",
      "relu",
      "activation_function",
      {{"n_kv_heads", "", "", false},
       {"ffn_dim", "ffn_dim", ""},
       {"norm_eps", "", ""},
       {"norm_before", "do_layer_norm_before", "", false, ConfigValue(true)},
       {"embed_dim", "word_embed_proj_dim", "", false},
       {"bias.qkv", "enable_bias", "", false, ConfigValue(true)},
       {"bias.wo", "enable_bias", "", false, ConfigValue(true)},
       {"bias.ffn", "enable_bias", "", false, ConfigValue(true)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  config.set("norm_eps", 1e-5);  // No configuration says it.
  QUERN_TRY(before, config.boolean("norm_before"));
  QUERN_TRY(removed, source.boolean_or("_remove_final_layer_norm", false));
  QUERN_TRY(affine, source.boolean_or("layer_norm_elementwise_affine", true));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(embed_dim, config.integer_or("embed_dim", dim));
  config.set("embed_dim", embed_dim);
  config.set("norms", affine);
  config.set("final_norm", before && !removed);
  config.set("final_norm_weights", before && !removed && affine);
  config.set("projects", embed_dim != dim);
  config.set("architecture", std::string("opt"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules = decoder_tensors({.attn_norm = "layers.{}.self_attn_layer_norm",
                                                     .wo = "layers.{}.self_attn.out_proj",
                                                     .ffn_norm = "layers.{}.final_layer_norm",
                                                     .w_gate = "",
                                                     .w_up = "layers.{}.fc1",
                                                     .w_down = "layers.{}.fc2",
                                                     .norm = "final_layer_norm"});
    for (TensorRule& rule : rules) {
      if (rule.name.find("_norm") != std::string_view::npos) rule.when = "norms";
      if (rule.name == "norm" || rule.name == "norm.bias") rule.when = "final_norm_weights";
      if (rule.name == "embed" || rule.name == "lm_head") rule.cols = "embed_dim";
    }
    add_positions(rules, "embed_positions.weight", "max_seq_len+2");
    TensorRule in = matrix_rule("project_in", "project_in.weight", "", "dim", "embed_dim");
    TensorRule out = matrix_rule("project_out", "project_out.weight", "", "embed_dim", "dim");
    in.when = out.when = "projects";
    rules.insert(rules.begin() + 1, in);
    rules.push_back(out);
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(before, config.boolean_or("norm_before", true));
  QUERN_TRY(final_norm, config.boolean_or("final_norm", true));
  QUERN_TRY(projects, config.boolean_or("projects", false));
  QUERN_TRY(embed_dim, config.integer("embed_dim"));
  QUERN_TRY(positions, config.integer("max_seq_len"));
  return build_decoder(
      config, weights,
      {.norm = NormKind::kLayer,
       .placement = before ? NormPlacement::kBefore : NormPlacement::kAfterResidual,
       .gated = false,
       .rotary = false,
       .position_rows = positions + kFirstPosition,
       .position_offset = kFirstPosition,
       .final_norm = final_norm,
       .embed_dim = projects ? embed_dim : 0});
}

}  // namespace

extern const Architecture kOpt;
const Architecture kOpt = {"opt", {"OPTForCausalLM"}, {}, read_config, nullptr, tensors, build};

}  // namespace quern::models
