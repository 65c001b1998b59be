// DeepSeek V3 and R1 (DeepSeek-AI 2024, "DeepSeek-V3 Technical Report"): V2 with sigmoid scores, a
// correction of the choice, and groups of experts.
#include "models/config_io.h"
#include "models/deepseek.h"
#include "models/mixture.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::int64_t kSigmoid = 2;  // GGUF's number.

Status read_hf(const Config& source, Config& config) {
  QUERN_TRY(groups, source.integer_or("n_group", 8));
  QUERN_TRY(used, source.integer_or("topk_group", 4));
  QUERN_TRY(normalise, source.boolean_or("norm_topk_prob", true));
  QUERN_TRY(interleaved, source.boolean_or("rope_interleave", true));
  QUERN_TRY(scale, source.number_or("routed_scaling_factor", 2.5));
  config.set("n_expert_groups", groups);
  config.set("n_expert_groups_used", used);
  config.set("normalise_experts", normalise);
  config.set("rope.interleaved", interleaved);
  config.set("expert_scale", scale);
  QUERN_CHECK(expect_value(source, "scoring_func", std::string("sigmoid")));
  return expect_value(source, "topk_method", std::string("noaux_tc"));
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  const bool old_name = source.has("n_routed_experts");
  QUERN_TRY(config, read_deepseek_config(source, kind,
                                         old_name ? "n_routed_experts" : "num_local_experts"));
  if (kind == SourceKind::kHuggingFace) QUERN_CHECK(read_hf(source, config));
  config.set("architecture", std::string("deepseek_v3"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_deepseek_gguf_config(config, kSigmoid);
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    TensorRule correction =
        norm_rule("layers.{}.router_correction", "layers.{}.mlp.gate.e_score_correction_bias",
                  "blk.{}.exp_probs_b.bias", "n_experts");
    correction.when = "mixture_layers";
    return deepseek_tensors({correction});
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_CHECK(read_deepseek_layout(config, layout));
  QUERN_TRY(interleaved, config.boolean_or("rope.interleaved", true));
  layout.attention.interleaved = interleaved;
  layout.mixture.route.scoring = graph::Scoring::kSigmoid;
  layout.mixture.route.group_by_two = true;
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kDeepseekV3;
const Architecture kDeepseekV3 = {"deepseek_v3",
                                  {"DeepseekV3ForCausalLM"},
                                  {kDeepseekGguf},
                                  read_config,
                                  write_gguf_config,
                                  tensors,
                                  build,
                                  "deepseek2.expert_gating_func=2"};

}  // namespace quern::models
