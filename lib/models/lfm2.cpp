// LFM 2 (Liquid AI 2025, "LFM2 Technical Report"): short gated convolutions in most layers,
// attention with norms of every query and key head in the others.
#include <algorithm>

#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/recurrent.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      "",
      "silu",
      "",
      {{"norm_eps", "norm_eps", "", false, ConfigValue(1e-5)},
       {"conv_kernel", "conv_L_cache", "", false, ConfigValue(std::int64_t{3})},
       {"bias.conv", "conv_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// The published width is adjusted unless the checkpoint says otherwise.
Status adjust_ffn_dim(const Config& source, Config& config) {
  if (source.has("block_ff_dim")) config.set("ffn_dim", *source.find("block_ff_dim"));
  QUERN_TRY(adjusts, source.boolean_or("block_auto_adjust_ff_dim", true));
  if (!adjusts) return {};
  QUERN_TRY(ffn_dim, config.integer("ffn_dim"));
  QUERN_TRY(multiple, source.integer_or("block_multiple_of", 256));
  if (ffn_dim < 1 || ffn_dim > (1 << 24) || multiple < 1 || multiple > (1 << 20))
    return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range")
        .of("block_multiple_of");
  std::int64_t adjusted = 2 * ffn_dim / 3;
  if (source.has("block_ffn_dim_multiplier")) {
    QUERN_TRY(factor, source.number("block_ffn_dim_multiplier"));
    adjusted = static_cast<std::int64_t>(factor * static_cast<double>(adjusted));
    adjusted = (adjusted + multiple - 1) / multiple * multiple;
  }
  config.set("ffn_dim", adjusted);
  return {};
}

Status read_layers(const Config& source, Config& config) {
  QUERN_CHECK(read_attention_layers(source, "conv", "conv", config));
  if (config.has("attention_layers")) return {};
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  const ConfigList full = source.list("full_attn_idxs");
  ConfigList layers;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    layers.emplace_back(full.empty() ||
                        std::find(full.begin(), full.end(), ConfigValue(i)) != full.end());
  }
  config.set("attention_layers", std::move(layers));
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {"", "", 1000000.0}, config));
  QUERN_CHECK(adjust_ffn_dim(source, config));
  QUERN_CHECK(read_layers(source, config));
  config.set("architecture", std::string("lfm2"));
  return config;
}

std::vector<TensorRule> conv_tensors() {
  const std::string stem = "layers.{}.conv.";
  std::vector<TensorRule> rules;
  const auto part = [&](std::string_view name, std::string_view bias, std::string_view first) {
    rules.push_back(matrix_rule(name, stem + "in_proj.weight", "", "dim", "dim"));
    rules.push_back(bias_rule(bias, stem + "in_proj.bias", "", "dim"));
    rules[rules.size() - 2].hf_slice = rules.back().hf_slice = {first, "", "", "3*dim"};
  };
  part("layers.{}.conv_b", "layers.{}.conv_b.bias", "");
  part("layers.{}.conv_c", "layers.{}.conv_c.bias", "dim");
  part("layers.{}.conv_x", "layers.{}.conv_x.bias", "2*dim");
  rules.push_back(norm_rule("layers.{}.conv", stem + "conv.weight", "", "dim*conv_kernel"));
  rules.push_back(bias_rule("layers.{}.conv.bias", stem + "conv.bias", "", "dim"));
  rules.push_back(matrix_rule("layers.{}.conv_out", stem + "out_proj.weight", "", "dim", "dim"));
  rules.push_back(bias_rule("layers.{}.conv_out.bias", stem + "out_proj.bias", "", "dim"));
  for (TensorRule& rule : rules) {
    if (!rule.optional) rule.when = "!attention_layers";
  }
  return rules;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> own = qk_norm_tensors();
    own[0].hf = {"layers.{}.self_attn.q_layernorm.weight"};
    own[1].hf = {"layers.{}.self_attn.k_layernorm.weight"};
    const std::vector<TensorRule> conv = conv_tensors();
    own.insert(own.end(), conv.begin(), conv.end());
    std::vector<TensorRule> rules = decoder_tensors({.attn_norm = "layers.{}.operator_norm",
                                                     .wo = "layers.{}.self_attn.out_proj",
                                                     .ffn_norm = "layers.{}.ffn_norm",
                                                     .w_gate = "layers.{}.feed_forward.w1",
                                                     .w_up = "layers.{}.feed_forward.w3",
                                                     .w_down = "layers.{}.feed_forward.w2",
                                                     .norm = "embedding_norm"},
                                                    own);
    for (const char* name : {"layers.{}.wq", "layers.{}.wk", "layers.{}.wv", "layers.{}.wo",
                             "layers.{}.q_norm", "layers.{}.k_norm"})
      rule_of(rules, name).when = "attention_layers";
    return rules;
  }();
  return kRules;
}

graph::ValueId short_conv(graph::GraphBuilder& g, std::int64_t kernel, std::int64_t layer,
                          graph::ValueId h, graph::ValueId residual) {
  const std::int64_t dim = g.cols(h);
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const auto project = [&](graph::ValueId x, std::string_view part, graph::ValueId plus) {
    return g.linear(x, g.matrix(name(part), dim, dim), part,
                    g.vector(name(part) + ".bias", dim, true), plus);
  };
  const graph::ValueId b = project(h, "conv_b", graph::kNone);
  const graph::ValueId c = project(h, "conv_c", graph::kNone);
  const graph::ValueId x = project(h, "conv_x", graph::kNone);
  graph::CausalConvOp op{g.mul(b, x, "gated"), g.vector(name("conv"), dim * kernel)};
  op.bias = g.vector(name("conv.bias"), dim, true);
  op.kernel = kernel;
  return project(g.mul(c, g.causal_conv(op, "conv"), "regated"), "conv_out", residual);
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(kernel, config.integer("conv_kernel"));
  DecoderLayout layout;
  layout.attention.qk_norm = QkNorm::kHeads;
  layout.attention_layers = layer_flags(config, "attention_layers");
  layout.mixer = [kernel = kernel](graph::GraphBuilder& g, std::int64_t layer, graph::ValueId h,
                                   graph::ValueId residual) {
    return short_conv(g, kernel, layer, h, residual);
  };
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kLfm2;
const Architecture kLfm2 = {"lfm2", {"Lfm2ForCausalLM"}, {}, read_config, nullptr, tensors, build};

}  // namespace quern::models
