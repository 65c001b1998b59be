// Granite 4 (IBM 2025): Mamba-2 blocks in most layers, attention in the others; a mixture of
// experts beside one that every row takes, or the latter alone.
#include "models/granite.h"
#include "models/granite_hybrid_config.h"
#include "models/mixture.h"
#include "models/recurrent.h"

namespace quern::models {
namespace {

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
    std::vector<TensorRule> rules =
        sparse_decoder_tensors({.gguf_qk = Transform::kRopeRows}, mixture,
                               mamba2_tensors("layers.{}.mamba", "!attention_layers"));
    // Alone, or the shared part of a mixture.
    name_granite_shared(rules, {"layers.{}.w_gate", "layers.{}.w_up", "layers.{}.w_down"},
                        "ffn_dim", "2*ffn_dim");
    name_granite_shared(rules,
                        {"layers.{}.shared_gate", "layers.{}.shared_up", "layers.{}.shared_down"},
                        "ffn_dim", "2*ffn_dim");
    for (const char* name : {"layers.{}.wq", "layers.{}.wk", "layers.{}.wv", "layers.{}.wo"})
      rule_of(rules, name).when = "attention_layers";
    for (const char* name :
         {"layers.{}.wq.bias", "layers.{}.wk.bias", "layers.{}.wv.bias", "layers.{}.wo.bias",
          "layers.{}.w_gate.bias", "layers.{}.w_up.bias", "layers.{}.w_down.bias"})
      rule_of(rules, name).when = {};
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_CHECK(read_granite_scales(config, layout));
  QUERN_TRY(block, Mamba2Dims::read(config));
  QUERN_TRY(rotary, config.boolean_or("rope.used", false));
  QUERN_TRY(n_experts, config.integer("n_experts"));
  if (n_experts > 0) {
    QUERN_TRY(mixture, read_mixture(config));
    layout.mixture = std::move(mixture);
    layout.mixture.normalise = true;
  }
  layout.rotary = rotary;
  layout.attention_layers = layer_flags(config, "attention_layers");
  layout.mixer = [block = block](graph::GraphBuilder& g, std::int64_t layer, graph::ValueId h,
                                 graph::ValueId residual) {
    return mamba2_block(g, block, layer, h, residual);
  };
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kGranitemoehybrid;
const Architecture kGranitemoehybrid = {"granitemoehybrid",
                                        {"GraniteMoeHybridForCausalLM"},
                                        {kGraniteHybridGguf},
                                        read_granite_hybrid_config,
                                        write_granite_hybrid_gguf_config,
                                        tensors,
                                        build};

}  // namespace quern::models
