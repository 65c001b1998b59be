// Hunyuan, dense (Tencent 2025): Llama with norms of every query and key head after rotary.
#include "base/scalar_math.h"
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "hunyuan-dense";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// "dynamic" with an `alpha` is a longer base, whatever the length (NTK-aware scaling).
Status stretch_theta(const Config& source, Config& config) {
  for (const std::string prefix : {"rope_parameters.", "rope_scaling."}) {
    QUERN_TRY(old_type, source.string_or(prefix + "type", ""));
    QUERN_TRY(type, source.string_or(prefix + "rope_type", old_type));
    QUERN_TRY(alpha, source.number_or(prefix + "alpha", 0.0));
    if (type != "dynamic" || alpha == 0.0) continue;
    QUERN_TRY(dim, config.number("rope.dim"));
    QUERN_TRY(theta, config.number("rope.theta"));
    if (!(alpha > 0) || !(dim > 2))
      return Error(ErrorCode::kOutOfRange, "rope scaling values do not fit together")
          .of(prefix + "alpha");
    config.set("rope.theta", theta * base::pow(alpha, dim / (dim - 2.0)));
    return {};
  }
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  if (kind == SourceKind::kHuggingFace) QUERN_CHECK(stretch_theta(source, config));
  config.set("architecture", std::string("hunyuan_dense"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> norms = qk_norm_tensors();
    norms[0].hf = {"layers.{}.self_attn.query_layernorm.weight"};
    norms[1].hf = {"layers.{}.self_attn.key_layernorm.weight"};
    return decoder_tensors({}, norms);
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {.attention = {.qk_norm = QkNorm::kHeadsAfterRope}});
}

}  // namespace

extern const Architecture kHunyuanDense;
const Architecture kHunyuanDense = {"hunyuan_dense",
                                    {"HunYuanDenseV1ForCausalLM"},
                                    {kGguf},
                                    read_config,
                                    write_gguf_config,
                                    tensors,
                                    build};

}  // namespace quern::models
