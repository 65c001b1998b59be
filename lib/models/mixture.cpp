#include "models/mixture.h"

namespace quern::models {
namespace {

constexpr std::int64_t kMaxExperts = 65536;

TensorRule experts_rule(std::string_view name, const std::string& hf, std::string_view gguf,
                        std::string_view rows, std::string_view cols) {
  TensorRule rule = matrix_rule(name, hf + ".weight", gguf, rows, cols);
  rule.count = "n_experts";
  rule.when = "mixture_layers";
  return rule;
}

TensorRule shared_rule(std::string_view name, const std::string& hf, std::string_view gguf,
                       std::string_view rows, std::string_view cols) {
  TensorRule rule = matrix_rule(name, hf + ".weight", gguf, rows, cols);
  rule.when = "mixture_layers";
  return rule;
}

}  // namespace

std::vector<ConfigKey> mixture_keys() {
  return {
      {"n_experts", "num_experts", "expert_count"},
      {"n_experts_used", "num_experts_per_tok", "expert_used_count"},
      {"expert_ffn_dim", "moe_intermediate_size", "expert_feed_forward_length"},
      {"normalise_experts", "norm_topk_prob", "expert_weights_norm", false, ConfigValue(false)}};
}

Result<Mixture> read_mixture(const Config& config) {
  Mixture mixture;
  QUERN_TRY(n_experts, config.integer("n_experts"));
  QUERN_TRY(n_used, config.integer("n_experts_used"));
  QUERN_TRY(ffn_dim, config.integer("expert_ffn_dim"));
  QUERN_TRY(shared, config.integer_or("shared_ffn_dim", 0));
  QUERN_TRY(normalise, config.boolean_or("normalise_experts", false));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_experts < 1 || n_experts > kMaxExperts || n_used < 1 || n_used > n_experts || shared < 0) {
    return Error(ErrorCode::kOutOfRange, "the number of experts is out of range")
        .of("n_experts")
        .got(std::to_string(n_used) + " of " + std::to_string(n_experts));
  }
  mixture.n_experts = n_experts;
  mixture.n_used = n_used;
  mixture.ffn_dim = ffn_dim;
  mixture.shared_ffn_dim = shared;
  mixture.normalise = normalise;
  for (const ConfigValue& sparse : config.list("mixture_layers"))
    mixture.layers.push_back(sparse == ConfigValue(true));
  if (!mixture.layers.empty() && static_cast<std::int64_t>(mixture.layers.size()) != n_layers) {
    return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
        .of("mixture_layers");
  }
  return mixture;
}

std::vector<TensorRule> mixture_tensors(const MixtureTable& table) {
  std::vector<TensorRule> rules;
  TensorRule router = matrix_rule("layers.{}.router", table.router + ".weight",
                                  "blk.{}.ffn_gate_inp.weight", "n_experts", "dim");
  router.role = Role::kExact;
  router.when = "mixture_layers";
  rules.push_back(router);
  rules.push_back(experts_rule("layers.{}.experts_gate", table.gate, "blk.{}.ffn_gate_exps.weight",
                               "expert_ffn_dim", "dim"));
  rules.push_back(experts_rule("layers.{}.experts_up", table.up, "blk.{}.ffn_up_exps.weight",
                               "expert_ffn_dim", "dim"));
  if (table.fused_gate_up) {
    rules[1].hf_slice = {"", "", "", "2*expert_ffn_dim"};
    rules[2].hf_slice = {"expert_ffn_dim", "", "", "2*expert_ffn_dim"};
  }
  rules.push_back(experts_rule("layers.{}.experts_down", table.down, "blk.{}.ffn_down_exps.weight",
                               "dim", "expert_ffn_dim"));
  if (!table.newer_router.empty()) rules[0].hf.push_back(table.newer_router + ".weight");
  if (!table.newer_experts.empty()) {
    const bool fused = table.fused_gate_up;
    rules[1].hf.push_back(table.newer_experts +
                          (fused ? ".gate_up_proj" : ".{e}.gate_proj.weight"));
    rules[2].hf.push_back(table.newer_experts + (fused ? ".gate_up_proj" : ".{e}.up_proj.weight"));
    rules[3].hf.push_back(table.newer_experts + (fused ? ".down_proj" : ".{e}.down_proj.weight"));
  }
  if (table.shared.empty()) return rules;
  rules.push_back(shared_rule("layers.{}.shared_gate", table.shared + ".gate_proj",
                              "blk.{}.ffn_gate_shexp.weight", "shared_ffn_dim", "dim"));
  rules.push_back(shared_rule("layers.{}.shared_up", table.shared + ".up_proj",
                              "blk.{}.ffn_up_shexp.weight", "shared_ffn_dim", "dim"));
  rules.push_back(shared_rule("layers.{}.shared_down", table.shared + ".down_proj",
                              "blk.{}.ffn_down_shexp.weight", "dim", "shared_ffn_dim"));
  if (table.shared_gate.empty()) return rules;
  rules.push_back(shared_rule("layers.{}.shared_router", table.shared_gate,
                              "blk.{}.ffn_gate_inp_shexp.weight", "1", "dim"));
  rules.back().role = Role::kExact;
  return rules;
}

std::vector<TensorRule> sparse_decoder_tensors(const DecoderTable& decoder,
                                               const MixtureTable& mixture,
                                               std::vector<TensorRule> in_layer) {
  const std::vector<TensorRule> experts = mixture_tensors(mixture);
  in_layer.insert(in_layer.end(), experts.begin(), experts.end());
  std::vector<TensorRule> rules = decoder_tensors(decoder, in_layer);
  for (TensorRule& rule : rules) {
    // A bias is there or not, by `bias.ffn` or by the file.
    if (rule.name.starts_with("layers.{}.w_") && !rule.optional) rule.when = "!mixture_layers";
  }
  return rules;
}

graph::ValueId mixture_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                           graph::ValueId h, graph::ValueId residual, const Mixture& mixture) {
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const std::int64_t n = mixture.n_experts, ffn_dim = mixture.ffn_dim;
  const graph::ValueId scores = g.linear(h, g.matrix(name("router"), n, dims.dim), "router",
                                         g.vector(name("router.bias"), n, true));
  graph::RouteOp route = mixture.route;
  route.x = scores;
  route.n_used = mixture.n_used;
  route.normalise = mixture.normalise;
  route.bias = g.vector(name("router_correction"), n, true);
  graph::ExpertsOp experts{h,
                           g.route(route, "route"),
                           g.matrices(name("experts_gate"), n, ffn_dim, dims.dim),
                           g.matrices(name("experts_up"), n, ffn_dim, dims.dim),
                           g.matrices(name("experts_down"), n, dims.dim, ffn_dim),
                           dims.activation};
  experts.gate_bias = g.vector(name("experts_gate.bias"), n * ffn_dim, true);
  experts.up_bias = g.vector(name("experts_up.bias"), n * ffn_dim, true);
  experts.down_bias = g.vector(name("experts_down.bias"), n * dims.dim, true);
  experts.limit = mixture.limit;
  experts.alpha = mixture.alpha;
  graph::ValueId y = g.experts(experts, "experts");
  if (mixture.shared_ffn_dim > 0) {
    const std::int64_t shared = mixture.shared_ffn_dim;
    const auto project = [&](std::string_view part) {
      return g.linear(h, g.matrix(name(part), shared, dims.dim), part);
    };
    const graph::ValueId gate = project("shared_gate"), up = project("shared_up");
    graph::ValueId s = g.glu(gate, up, dims.activation, "shared_glu");
    s = g.linear(s, g.matrix(name("shared_down"), dims.dim, shared), "shared_down");
    const graph::WeightId router = g.matrix(name("shared_router"), 1, dims.dim, true);
    if (router != graph::kNone) {
      const graph::ValueId open = g.activation(g.linear(h, router, "shared_router"),
                                               graph::Activation::kSigmoid, "shared_open");
      s = g.scale_rows(s, open, "shared_scaled");
    }
    y = g.add(y, s, "with_shared");
  }
  return residual == graph::kNone ? y : g.add(y, residual, "ffn_residual");
}

}  // namespace quern::models
