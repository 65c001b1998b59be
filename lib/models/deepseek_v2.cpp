// DeepSeek V2 (DeepSeek-AI 2024, "DeepSeek-V2"): latent attention and fine-grained experts.
#include "models/config_io.h"
#include "models/deepseek.h"
#include "models/mixture.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::int64_t kSoftmax = 1;  // GGUF's number.

/// What GGUF files do not have words for.
Status read_hf(const Config& source, Config& config) {
  QUERN_TRY(method, source.string_or("topk_method", "greedy"));
  if (method != "greedy" && method != "group_limited_greedy") {
    return Error(ErrorCode::kUnsupported, "a way of choosing experts is not implemented")
        .of("topk_method")
        .want("greedy or group_limited_greedy")
        .got(method);
  }
  QUERN_CHECK(refuse(source, "mlp_bias", "biases of the shared experts are not implemented"));
  config.set("normalise_experts", false);  // V2 ignores the key.
  if (method == "group_limited_greedy") {
    QUERN_TRY(groups, source.integer("n_group"));
    QUERN_TRY(used, source.integer("topk_group"));
    config.set("n_expert_groups", groups);
    config.set("n_expert_groups_used", used);
  }
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_deepseek_config(source, kind, "n_routed_experts"));
  if (kind == SourceKind::kHuggingFace) QUERN_CHECK(read_hf(source, config));
  QUERN_CHECK(expect_value(source, "deepseek2.expert_gating_func", ConfigValue(kSoftmax)));
  config.set("architecture", std::string("deepseek_v2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_deepseek_gguf_config(config, kSoftmax);
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = deepseek_tensors();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_CHECK(read_deepseek_layout(config, layout));
  layout.attention.interleaved = true;
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kDeepseekV2;
const Architecture kDeepseekV2 = {"deepseek_v2", {"DeepseekV2ForCausalLM"}, {kDeepseekGguf},
                                  read_config,   write_gguf_config,         tensors,
                                  build};

}  // namespace quern::models
