// Granite 3 MoE (IBM 2024, "Granite 3.0 Language Models"): Granite with a mixture of experts, and
// perhaps one that every row takes (GraniteMoeShared).
#include "models/config_io.h"
#include "models/granite.h"
#include "models/mixture.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "granitemoe";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling = [] {
    DecoderSpelling s{kGguf};
    s.keys = granite_keys();
    s.keys.push_back({"n_experts", "num_local_experts", "expert_count"});
    s.keys.push_back({"n_experts_used", "num_experts_per_tok", "expert_used_count"});
    s.keys.push_back({"shared_ffn_dim", "", "expert_shared_feed_forward_length", false});
    return s;
  }();
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  if (kind == SourceKind::kGguf) QUERN_CHECK(check_gguf_granite(source, kGguf, false, config));
  config.set("expert_ffn_dim", *config.find("ffn_dim"));
  if (is_class(source, "GraniteMoeShared")) {
    QUERN_TRY(shared, source.integer("shared_intermediate_size"));
    config.set("shared_ffn_dim", shared);
  }
  QUERN_TRY(shared, config.integer_or("shared_ffn_dim", 0));
  config.set("has_shared", shared != 0);
  config.set("architecture", std::string("granitemoe"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    MixtureTable mixture;
    mixture.router = "layers.{}.block_sparse_moe.router.layer";
    mixture.gate = mixture.up = "layers.{}.block_sparse_moe.input_linear";
    mixture.down = "layers.{}.block_sparse_moe.output_linear";
    mixture.fused_gate_up = true;
    mixture.newer_router = "layers.{}.block_sparse_moe.router";
    mixture.newer_experts = "layers.{}.block_sparse_moe.experts";
    mixture.shared = "layers.{}.shared_mlp";
    std::vector<TensorRule> experts = mixture_tensors(mixture);
    name_granite_shared(experts,
                        {"layers.{}.shared_gate", "layers.{}.shared_up", "layers.{}.shared_down"},
                        "shared_ffn_dim", "2*shared_ffn_dim");
    for (const char* name :
         {"layers.{}.shared_gate", "layers.{}.shared_up", "layers.{}.shared_down"})
      rule_of(experts, name).when = "has_shared";
    return decoder_tensors(
        {.w_gate = "", .w_up = "", .w_down = "", .gguf_qk = Transform::kRopeRows}, experts);
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_CHECK(read_granite_scales(config, layout));
  QUERN_TRY(mixture, read_mixture(config));
  layout.mixture = std::move(mixture);
  layout.mixture.normalise = true;
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kGranitemoe;
const Architecture kGranitemoe = {"granitemoe",
                                  {"GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"},
                                  {kGguf},
                                  read_config,
                                  write_gguf_config,
                                  tensors,
                                  build};

}  // namespace quern::models
