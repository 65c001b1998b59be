#include "models/mamba_tensors.h"

#include <string>
#include <string_view>

#include "models/decoder_tensors.h"

namespace quern::models {

const std::vector<TensorRule>& mamba_tensors() {
  static const std::vector<TensorRule> kRules = [] {
    const std::string stem = "layers.{}.mixer.";
    constexpr std::string_view kInner = "ssm.inner_dim", kBoth = "2*ssm.inner_dim";
    constexpr std::string_view kNarrow = "ssm.dt_rank+2*ssm.state_dim";
    const auto sliced = [](TensorRule rule, std::string_view first, std::string_view total) {
      rule.hf_slice = {first, "", "", total};
      if (!rule.gguf.empty()) rule.gguf_slice = rule.hf_slice;
      return rule;
    };
    const auto cut = [&](TensorRule rule) {
      rule.rows = kInner;
      return rule;
    };
    const auto in = [&](std::string_view name, std::string_view bias, std::string_view first) {
      return std::vector{
          sliced(matrix_rule(name, stem + "in_proj.weight", "blk.{}.ssm_in.weight", kInner, "dim"),
                 first, kBoth),
          sliced(bias_rule(bias, stem + "in_proj.bias", "blk.{}.ssm_in.bias", kInner), first,
                 kBoth)};
    };
    const std::string x_proj = stem + "x_proj.weight";
    constexpr std::string_view kGgufX = "blk.{}.ssm_x.weight";
    std::vector<TensorRule> rules = {
        matrix_rule("embed", "embeddings.weight", "token_embd.weight", "vocab_size", "dim"),
        norm_rule("layers.{}.norm", "layers.{}.norm.weight", "blk.{}.attn_norm.weight", "dim")};
    rules.front().role = Role::kEmbedding;
    for (const auto& more : {in("layers.{}.ssm_x", "layers.{}.ssm_x.bias", ""),
                             in("layers.{}.ssm_z", "layers.{}.ssm_z.bias", kInner)})
      rules.insert(rules.end(), more.begin(), more.end());
    const std::vector<TensorRule> rest = {
        cut(norm_rule("layers.{}.ssm_conv", stem + "conv1d.weight", "blk.{}.ssm_conv1d.weight",
                      "ssm.inner_dim*ssm.kernel")),
        bias_rule("layers.{}.ssm_conv.bias", stem + "conv1d.bias", "blk.{}.ssm_conv1d.bias",
                  kInner),
        sliced(matrix_rule("layers.{}.ssm_dt_in", x_proj, kGgufX, "ssm.dt_rank", kInner), "",
               kNarrow),
        sliced(matrix_rule("layers.{}.ssm_b", x_proj, kGgufX, "ssm.state_dim", kInner),
               "ssm.dt_rank", kNarrow),
        sliced(matrix_rule("layers.{}.ssm_c", x_proj, kGgufX, "ssm.state_dim", kInner),
               "ssm.dt_rank+ssm.state_dim", kNarrow),
        matrix_rule("layers.{}.ssm_dt", stem + "dt_proj.weight", "blk.{}.ssm_dt.weight", kInner,
                    "ssm.dt_rank"),
        norm_rule("layers.{}.ssm_dt.bias", stem + "dt_proj.bias", "blk.{}.ssm_dt.bias", kInner),
        cut(norm_rule("layers.{}.ssm_a", stem + "A_log", "blk.{}.ssm_a",
                      "ssm.inner_dim*ssm.state_dim", Transform::kNegExp)),
        norm_rule("layers.{}.ssm_skip", stem + "D", "blk.{}.ssm_d", kInner),
        matrix_rule("layers.{}.ssm_out", stem + "out_proj.weight", "blk.{}.ssm_out.weight", "dim",
                    kInner),
        bias_rule("layers.{}.ssm_out.bias", stem + "out_proj.bias", "blk.{}.ssm_out.bias", "dim"),
        norm_rule("norm", "norm_f.weight", "output_norm.weight", "dim"),
        matrix_rule("lm_head", "lm_head.weight", "output.weight", "vocab_size", "dim")};
    rules.insert(rules.end(), rest.begin(), rest.end());
    rules.back().optional = true;
    return rules;
  }();
  return kRules;
}

}  // namespace quern::models
