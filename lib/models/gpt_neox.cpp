// GPT-NeoX: Pythia, GenSLMs and others (Black et al. 2022, "GPT-NeoX-20B"): attention and MLP side
// by side, each after a layer norm of its own; rotary in the first part of every head.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "gptneox";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_erf",
      "hidden_act",
      {{"n_kv_heads", "", "attention.head_count_kv", false},
       layer_norm_eps_key(),
       {"parallel", "use_parallel_residual", "use_parallel_residual", false, ConfigValue(true)},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(true)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(true)}}};
  return kSpelling;
}

RopeSpelling rope_spelling() {
  RopeSpelling rope{kGguf};
  rope.partial = 0.25;
  rope.hf_theta = "rotary_emb_base";
  rope.hf_partial = "rotary_pct";
  return rope;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, rope_spelling(), config));
  QUERN_CHECK(set_kv_group(config));
  config.set("architecture", std::string("gpt_neox"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string qkv = "layers.{}.attention.query_key_value";
    return decoder_tensors({.embed = "embed_in",
                            .wq = qkv,
                            .wk = qkv,
                            .wv = qkv,
                            .wo = "layers.{}.attention.dense",
                            .w_gate = "",
                            .w_up = "layers.{}.mlp.dense_h_to_4h",
                            .w_down = "layers.{}.mlp.dense_4h_to_h",
                            .norm = "final_layer_norm",
                            .lm_head = "embed_out",
                            .hf_qkv = FusedQkv::kPerGroup,
                            .gguf_qkv = FusedQkv::kInOrder});
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(parallel, config.boolean_or("parallel", true));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer, .parallel = parallel, .gated = false});
}

}  // namespace

extern const Architecture kGptNeox;
const Architecture kGptNeox = {
    "gpt_neox", {"GPTNeoXForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
