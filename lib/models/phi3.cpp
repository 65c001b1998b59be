// Phi 3 and 4 (Abdin et al. 2024, "Phi-3 Technical Report"): Llama with fused projections and, for
// long contexts, LongRoPE.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "phi3";
constexpr std::int64_t kOriginalLength = 4096;  // Where a configuration is silent.

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, {kGguf}));
  // Early checkpoints called this model's scaling "yarn".
  Config meant = source;
  for (const char* key : {"rope_scaling.type", "rope_scaling.rope_type", "rope_parameters.type",
                          "rope_parameters.rope_type"}) {
    QUERN_TRY(type, source.string_or(key, ""));
    if (type == "yarn") meant.set(key, std::string("longrope"));
  }
  if (!source.has("original_max_position_embeddings"))
    meant.set("original_max_position_embeddings", kOriginalLength);
  QUERN_CHECK(read_rope(meant, kind, {kGguf}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, 0, config));
  config.set("architecture", std::string("phi3"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, {kGguf}));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, 0, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string qkv = "layers.{}.self_attn.qkv_proj";
    const std::string gate_up = "layers.{}.mlp.gate_up_proj";
    return decoder_tensors({.wq = qkv,
                            .wk = qkv,
                            .wv = qkv,
                            .w_gate = gate_up,
                            .w_up = gate_up,
                            .hf_qkv = FusedQkv::kInOrder,
                            .gguf_qkv = FusedQkv::kInOrder,
                            .hf_fused_gate_up = true,
                            .gguf_fused_gate_up = true});
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {});
}

}  // namespace

extern const Architecture kPhi3;
const Architecture kPhi3 = {
    "phi3", {"Phi3ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
