// Mamba (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"): no
// attention at all.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::int64_t kNoLimit = 1 << 20;  // Of the sequence: the state does not grow.

Result<Config> read_config(const Config& source, SourceKind kind) {
  static const std::vector<ConfigKey> kKeys = {
      {"vocab_size", "vocab_size", ""},
      {"dim", "hidden_size", ""},
      {"n_layers", "num_hidden_layers", ""},
      {"ssm.inner_dim", "intermediate_size", "", false},
      {"ssm.state_dim", "state_size", "", false, ConfigValue(std::int64_t{16})},
      {"ssm.kernel", "conv_kernel", "", false, ConfigValue(std::int64_t{4})},
      {"ssm.dt_rank", "time_step_rank", ""},
      {"norm_eps", "layer_norm_epsilon", "", false, ConfigValue(1e-5)}};
  QUERN_TRY(config, read_keys(kKeys, source, kind, ""));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(expand, source.integer_or("expand", 2));
  if (dim < 1 || dim > (1 << 24) || expand < 1 || expand > 64)
    return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range").of("expand");
  if (!config.has("ssm.inner_dim")) config.set("ssm.inner_dim", dim * expand);
  QUERN_CHECK(expect_value(source, "hidden_act", std::string("silu")));
  config.set("max_seq_len", kNoLimit);
  config.set("architecture", std::string("mamba"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string stem = "layers.{}.mixer.";
    constexpr std::string_view kInner = "ssm.inner_dim", kBoth = "2*ssm.inner_dim";
    constexpr std::string_view kNarrow = "ssm.dt_rank+2*ssm.state_dim";
    const auto sliced = [](TensorRule rule, std::string_view first, std::string_view total) {
      rule.hf_slice = {first, "", "", total};
      return rule;
    };
    const auto in = [&](std::string_view name, std::string_view bias, std::string_view first) {
      return std::vector{
          sliced(matrix_rule(name, stem + "in_proj.weight", "", kInner, "dim"), first, kBoth),
          sliced(bias_rule(bias, stem + "in_proj.bias", "", kInner), first, kBoth)};
    };
    const std::string x_proj = stem + "x_proj.weight";
    std::vector<TensorRule> rules = {
        matrix_rule("embed", "embeddings.weight", "", "vocab_size", "dim"),
        norm_rule("layers.{}.norm", "layers.{}.norm.weight", "", "dim")};
    rules.front().role = Role::kEmbedding;
    for (const auto& more : {in("layers.{}.ssm_x", "layers.{}.ssm_x.bias", ""),
                             in("layers.{}.ssm_z", "layers.{}.ssm_z.bias", kInner)})
      rules.insert(rules.end(), more.begin(), more.end());
    const std::vector<TensorRule> rest = {
        norm_rule("layers.{}.ssm_conv", stem + "conv1d.weight", "", "ssm.inner_dim*ssm.kernel"),
        bias_rule("layers.{}.ssm_conv.bias", stem + "conv1d.bias", "", kInner),
        sliced(matrix_rule("layers.{}.ssm_dt_in", x_proj, "", "ssm.dt_rank", kInner), "", kNarrow),
        sliced(matrix_rule("layers.{}.ssm_b", x_proj, "", "ssm.state_dim", kInner), "ssm.dt_rank",
               kNarrow),
        sliced(matrix_rule("layers.{}.ssm_c", x_proj, "", "ssm.state_dim", kInner),
               "ssm.dt_rank+ssm.state_dim", kNarrow),
        matrix_rule("layers.{}.ssm_dt", stem + "dt_proj.weight", "", kInner, "ssm.dt_rank"),
        norm_rule("layers.{}.ssm_dt.bias", stem + "dt_proj.bias", "", kInner),
        norm_rule("layers.{}.ssm_a", stem + "A_log", "", "ssm.inner_dim*ssm.state_dim",
                  Transform::kNegExp),
        norm_rule("layers.{}.ssm_skip", stem + "D", "", kInner),
        matrix_rule("layers.{}.ssm_out", stem + "out_proj.weight", "", "dim", kInner),
        bias_rule("layers.{}.ssm_out.bias", stem + "out_proj.bias", "", "dim"),
        norm_rule("norm", "norm_f.weight", "", "dim"),
        matrix_rule("lm_head", "lm_head.weight", "", "vocab_size", "dim")};
    rules.insert(rules.end(), rest.begin(), rest.end());
    rules.back().optional = true;
    return rules;
  }();
  return kRules;
}

struct BlockDims {
  std::int64_t inner, state_dim, kernel, dt_rank;
};

graph::ValueId mamba_block(graph::GraphBuilder& g, const BlockDims& dims, std::int64_t layer,
                           graph::ValueId h, graph::ValueId residual) {
  const std::int64_t inner = dims.inner, state_dim = dims.state_dim;
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const auto project = [&](graph::ValueId x, std::string_view part, std::int64_t rows) {
    return g.linear(x, g.matrix(name(part), rows, g.cols(x)), part,
                    g.vector(name(part) + ".bias", rows, true));
  };
  const graph::ValueId z = project(h, "ssm_z", inner);
  graph::CausalConvOp conv{project(h, "ssm_x", inner),
                           g.vector(name("ssm_conv"), inner * dims.kernel)};
  conv.bias = g.vector(name("ssm_conv.bias"), inner, true);
  conv.kernel = dims.kernel;
  const graph::ValueId x =
      g.activation(g.causal_conv(conv, "conv"), graph::Activation::kSilu, "conv");
  graph::ScanOp scan{};
  scan.x = x;
  scan.dt = project(project(x, "ssm_dt_in", dims.dt_rank), "ssm_dt", inner);
  scan.b = project(x, "ssm_b", state_dim);
  scan.c = project(x, "ssm_c", state_dim);
  scan.a = g.vector(name("ssm_a"), inner * state_dim);
  scan.skip = g.vector(name("ssm_skip"), inner);
  const graph::ValueId y = g.glu(z, g.scan(scan, "scan"), graph::Activation::kSilu, "gated");
  return g.linear(y, g.matrix(name("ssm_out"), g.cols(h), inner), "ssm_out",
                  g.vector(name("ssm_out.bias"), g.cols(h), true), residual);
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderDims dims{};
  QUERN_TRY(vocab_size, config.integer("vocab_size"));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(inner, config.integer("ssm.inner_dim"));
  QUERN_TRY(state_dim, config.integer("ssm.state_dim"));
  QUERN_TRY(eps, config.number("norm_eps"));
  QUERN_TRY(kernel, config.integer("ssm.kernel"));
  QUERN_TRY(dt_rank, config.integer("ssm.dt_rank"));
  const BlockDims block{inner, state_dim, kernel, dt_rank};
  dims.vocab_size = vocab_size;
  dims.dim = dim;
  dims.norm_eps = static_cast<float>(eps);
  graph::GraphBuilder g(weights, vocab_size);
  const graph::WeightId embed = g.matrix("embed", vocab_size, dim);
  graph::ValueId x = g.embedding(embed);
  for (std::int64_t layer = 0; layer < n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    const graph::ValueId h = norm_block(g, dims, layer, x, "norm");
    x = mamba_block(g, block, layer, h, x);
  }
  decoder_head(g, dims, embed, x, {});
  return g.finish();
}

}  // namespace

extern const Architecture kMamba;
const Architecture kMamba = {"mamba", {"MambaForCausalLM"}, {}, read_config, nullptr, tensors,
                             build};

}  // namespace quern::models
