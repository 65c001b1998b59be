// ERNIE 4.5, dense (Baidu 2025, "ERNIE 4.5 Technical Report"): Llama with rotary pairs of
// neighbours.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "ernie4_5";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"head_dim", "head_dim", "attention.key_length", false, ConfigValue(std::int64_t{128})},
       {"bias.qkv", "use_bias", "", false, ConfigValue(false)},
       {"bias.wo", "use_bias", "", false, ConfigValue(false)},
       {"bias.ffn", "use_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf, "", 500000.0}, config));
  config.set("architecture", std::string("ernie4_5"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {.attention = {.interleaved = true}});
}

}  // namespace

extern const Architecture kErnie45;
const Architecture kErnie45 = {
    "ernie4_5", {"Ernie4_5ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
