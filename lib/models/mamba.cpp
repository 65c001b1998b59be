// Mamba (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"): no
// attention at all.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/mamba_tensors.h"
#include "models/recurrent.h"

namespace quern::models {
namespace {

constexpr std::int64_t kNoLimit = 1 << 20;  // Of the sequence: the state does not grow.
constexpr std::string_view kGguf = "mamba";

const std::vector<ConfigKey>& keys() {
  static const std::vector<ConfigKey> kKeys = {
      {"vocab_size", "vocab_size", "vocab_size", false},
      {"dim", "hidden_size", "embedding_length"},
      {"n_layers", "num_hidden_layers", "block_count"},
      {"ssm.inner_dim", "intermediate_size", "ssm.inner_size", false},
      {"ssm.state_dim", "state_size", "ssm.state_size", false, ConfigValue(std::int64_t{16})},
      {"ssm.kernel", "conv_kernel", "ssm.conv_kernel", false, ConfigValue(std::int64_t{4})},
      {"ssm.dt_rank", "time_step_rank", "ssm.time_step_rank"},
      {"norm_eps", "layer_norm_epsilon", "attention.layer_norm_rms_epsilon", false,
       ConfigValue(1e-5)}};
  return kKeys;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_keys(keys(), source, kind, kGguf));
  QUERN_TRY(vocab_size, source.integer("vocab_size"));
  config.set("vocab_size", vocab_size);
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

Result<Config> write_gguf_config(const Config& config) {
  return write_gguf_scan_keys(keys(), config, kGguf);
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
const Architecture kMamba = {"mamba",           {"MambaForCausalLM"}, {kGguf}, read_config,
                             write_gguf_config, mamba_tensors,        build};

}  // namespace quern::models
