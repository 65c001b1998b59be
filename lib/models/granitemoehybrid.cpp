// Granite 4 (IBM 2025): Mamba-2 blocks in most layers, attention in the others; a mixture of
// experts beside one that every row takes, or the latter alone.
#include "models/config_io.h"
#include "models/granite.h"
#include "models/mixture.h"
#include "models/recurrent.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling = [] {
    DecoderSpelling s;
    s.keys = granite_keys();
    const std::vector<ConfigKey> own = {
        {"ffn_dim", "shared_intermediate_size", ""},
        {"expert_ffn_dim", "intermediate_size", ""},
        {"n_experts", "num_local_experts", "", false, ConfigValue(std::int64_t{8})},
        {"n_experts_used", "num_experts_per_tok", "", false, ConfigValue(std::int64_t{2})},
        {"ssm.heads", "mamba_n_heads", ""},
        {"ssm.head_dim", "mamba_d_head", ""},
        {"ssm.state_dim", "mamba_d_state", ""},
        {"ssm.groups", "mamba_n_groups", ""},
        {"ssm.kernel", "mamba_d_conv", ""}};
    s.keys.insert(s.keys.end(), own.begin(), own.end());
    return s;
  }();
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {}, config));
  QUERN_CHECK(read_time_step_limit(source, config));
  QUERN_CHECK(read_attention_layers(source, "linear_attention", "mamba", config));
  QUERN_TRY(n_experts, config.integer("n_experts"));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  const auto layers = static_cast<std::size_t>(n_layers);
  if (!config.has("attention_layers"))
    config.set("attention_layers", ConfigList(layers, ConfigValue(false)));
  config.set("mixture_layers", ConfigList(layers, ConfigValue(n_experts > 0)));
  config.set("shared_ffn_dim", *config.find("ffn_dim"));
  config.set("rope.used",
             source.has("position_embedding_type") &&
                 *source.find("position_embedding_type") == ConfigValue(std::string("rope")));
  config.set("architecture", std::string("granitemoehybrid"));
  return config;
}

/// The MLP that every row takes: alone, or the shared part of a mixture.
void name_shared(std::vector<TensorRule>& rules, std::string_view gate, std::string_view up,
                 std::string_view down) {
  const std::string stem = "layers.{}.shared_mlp.";
  rule_of(rules, gate).hf = rule_of(rules, up).hf = {stem + "input_linear.weight"};
  rule_of(rules, gate).hf_slice = {"", "", "", "2*ffn_dim"};
  rule_of(rules, up).hf_slice = {"ffn_dim", "", "", "2*ffn_dim"};
  rule_of(rules, down).hf = {stem + "output_linear.weight"};
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
    std::vector<TensorRule> rules =
        sparse_decoder_tensors({}, mixture, mamba2_tensors("layers.{}.mamba", "!attention_layers"));
    name_shared(rules, "layers.{}.w_gate", "layers.{}.w_up", "layers.{}.w_down");
    name_shared(rules, "layers.{}.shared_gate", "layers.{}.shared_up", "layers.{}.shared_down");
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
const Architecture kGranitemoehybrid = {
    "granitemoehybrid", {"GraniteMoeHybridForCausalLM"}, {}, read_config, nullptr, tensors, build};

}  // namespace quern::models
