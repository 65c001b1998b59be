// Mixtral (Jiang et al. 2024, "Mixtral of Experts"): Mistral with a mixture of experts. GGUF counts
// it to "llama".
#include "models/config_io.h"
#include "models/mixture.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      "llama",
      "silu",
      "hidden_act",
      {{"n_experts", "num_local_experts", "expert_count"},
       {"n_experts_used", "num_experts_per_tok", "expert_used_count"}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {"llama", "", 1000000.0}, config));
  QUERN_CHECK(read_windows(source, kind, "llama", 0, config));
  config.set("expert_ffn_dim", *config.find("ffn_dim"));
  config.set("architecture", std::string("mixtral"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, "llama", out));
  QUERN_CHECK(write_gguf_windows(config, "llama", 0, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    MixtureTable mixture;
    mixture.router = "layers.{}.block_sparse_moe.gate";
    mixture.gate = "layers.{}.block_sparse_moe.experts.{e}.w1";
    mixture.up = "layers.{}.block_sparse_moe.experts.{e}.w3";
    mixture.down = "layers.{}.block_sparse_moe.experts.{e}.w2";
    mixture.newer_router = "layers.{}.mlp.gate";
    mixture.newer_experts = "layers.{}.mlp.experts";
    return decoder_tensors(
        {.w_gate = "", .w_up = "", .w_down = "", .gguf_qk = Transform::kRopeRows},
        mixture_tensors(mixture));
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_TRY(mixture, read_mixture(config));
  layout.mixture = std::move(mixture);
  layout.mixture.normalise = true;
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kMixtral;
const Architecture kMixtral = {"mixtral",   {"MixtralForCausalLM"}, {"llama"},
                               read_config, write_gguf_config,      tensors,
                               build,       "llama.expert_count"};

}  // namespace quern::models
