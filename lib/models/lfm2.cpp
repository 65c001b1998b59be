// LFM 2 (Liquid AI 2025, "LFM2 Technical Report"): short gated convolutions in most layers,
// attention with norms of every query and key head in the others.
#include "models/decoder_tensors.h"
#include "models/lfm2_config.h"
#include "models/recurrent.h"

namespace quern::models {
namespace {

/// llama.cpp knows these without biases; theirs have the names that it would give them.
std::vector<TensorRule> conv_tensors() {
  const std::string stem = "layers.{}.conv.";
  std::vector<TensorRule> rules;
  const auto part = [&](std::string_view name, std::string_view first) {
    rules.push_back(matrix_rule(name, stem + "in_proj.weight", "blk.{}.shortconv.in_proj.weight",
                                "dim", "dim"));
    rules.back().hf_slice = rules.back().gguf_slice = {first, "", "", "3*dim"};
  };
  const auto part_bias = [&](std::string_view name, std::string_view first) {
    rules.push_back(bias_rule(name, stem + "in_proj.bias", "blk.{}.shortconv.in_proj.bias", "dim"));
    rules.back().hf_slice = rules.back().gguf_slice = {first, "", "", "3*dim"};
  };
  part("layers.{}.conv_b", "");
  part("layers.{}.conv_c", "dim");
  part("layers.{}.conv_x", "2*dim");
  part_bias("layers.{}.conv_b.bias", "");
  part_bias("layers.{}.conv_c.bias", "dim");
  part_bias("layers.{}.conv_x.bias", "2*dim");
  rules.push_back(norm_rule("layers.{}.conv", stem + "conv.weight", "blk.{}.shortconv.conv.weight",
                            "dim*conv_kernel"));
  rules.back().rows = "dim";
  rules.push_back(
      bias_rule("layers.{}.conv.bias", stem + "conv.bias", "blk.{}.shortconv.conv.bias", "dim"));
  rules.push_back(matrix_rule("layers.{}.conv_out", stem + "out_proj.weight",
                              "blk.{}.shortconv.out_proj.weight", "dim", "dim"));
  rules.push_back(bias_rule("layers.{}.conv_out.bias", stem + "out_proj.bias",
                            "blk.{}.shortconv.out_proj.bias", "dim"));
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
    rule_of(rules, "norm").gguf = "token_embd_norm.weight";  // Where llama.cpp looks for it.
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
const Architecture kLfm2 = {
    "lfm2", {"Lfm2ForCausalLM"}, {kLfm2Gguf}, read_lfm2_config, write_lfm2_gguf_config, tensors,
    build};

}  // namespace quern::models
