// Seed-OSS (ByteDance 2025): Llama with biases on queries, keys and values.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "seed_oss";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"head_dim", "head_dim", "attention.key_length", false, ConfigValue(std::int64_t{128})},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(true)},
       {"bias.wo", "attention_out_bias", "", false, ConfigValue(false)},
       {"bias.ffn", "mlp_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  config.set("architecture", std::string("seed_oss"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules = decoder_tensors({});
    rule_of(rules, "layers.{}.ffn_norm").gguf = "blk.{}.post_attention_norm.weight";
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {});
}

}  // namespace

extern const Architecture kSeedOss;
const Architecture kSeedOss = {
    "seed_oss", {"SeedOssForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
