// Granite 3 (IBM 2024, "Granite 3.0 Language Models"): Llama with four multipliers: of embeddings,
// attention scores, what each block adds, and logits.
#include "models/granite.h"
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "granite";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{kGguf, "silu", "hidden_act", granite_keys()};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  if (kind == SourceKind::kGguf) QUERN_CHECK(check_gguf_granite(source, kGguf, false, config));
  config.set("architecture", std::string("granite"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({.gguf_qk = Transform::kRopeRows});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_CHECK(read_granite_scales(config, layout));
  return build_decoder(config, weights, layout);
}

}  // namespace

std::vector<ConfigKey> granite_keys() {
  return {{"embed_scale", "embedding_multiplier", "embedding_scale", false, ConfigValue(1.0)},
          {"attention_scale", "attention_multiplier", "attention.scale", false, ConfigValue(1.0)},
          {"residual_scale", "residual_multiplier", "residual_scale", false, ConfigValue(1.0)},
          {"logit_divisor", "logits_scaling", "logit_scale", false, ConfigValue(1.0)},
          {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
          {"bias.wo", "attention_bias", "", false, ConfigValue(false)},
          {"bias.ffn", "mlp_bias", "", false, ConfigValue(false)}};
}

Status check_gguf_granite(const Config& source, std::string_view gguf_arch, bool has_rotary_flag,
                          Config& config) {
  const std::string stem = std::string(gguf_arch) + ".";
  if (!source.has(stem + "attention.scale")) config.set("attention_scale", 0.0);
  if (has_rotary_flag) return {};
  return expect_value(source, stem + "rope.scaling.finetuned", ConfigValue(true));
}

void name_granite_shared(std::vector<TensorRule>& rules, const std::array<const char*, 3>& names,
                         std::string_view ffn_dim, std::string_view both) {
  const std::string stem = "layers.{}.shared_mlp.";
  for (const char* name : {names[0], names[1]})
    rule_of(rules, name).hf = {stem + "input_linear.weight"};
  rule_of(rules, names[0]).hf_slice = {"", "", "", both};
  rule_of(rules, names[1]).hf_slice = {ffn_dim, "", "", both};
  rule_of(rules, names[2]).hf = {stem + "output_linear.weight"};
}

Status read_granite_scales(const Config& config, DecoderLayout& layout) {
  QUERN_TRY(embed, config.number_or("embed_scale", 1.0));
  QUERN_TRY(attention, config.number_or("attention_scale", 1.0));
  QUERN_TRY(residual, config.number_or("residual_scale", 1.0));
  QUERN_TRY(divisor, config.number_or("logit_divisor", 1.0));
  if (!(divisor > 0))
    return Error(ErrorCode::kOutOfRange, "a scale is not positive").of("logit_divisor");
  layout.embed_scale = static_cast<float>(embed);
  layout.attention.scale = static_cast<float>(attention);
  layout.residual_scale = static_cast<float>(residual);
  layout.logit_scale = static_cast<float>(1.0 / divisor);
  return {};
}

extern const Architecture kGranite;
const Architecture kGranite = {
    "granite", {"GraniteForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
