// The modules of sentence-transformers (Reimers and Gurevych 2019, "Sentence-BERT") that have
// nothing to do with the architecture before them.
#include "models/sentence_modules.h"

#include <cmath>

#include "models/config_io.h"

namespace quern::models {
namespace {

using graph::GraphBuilder;
using graph::ValueId;

constexpr float kLayerNormEps = 1e-5F;  // Of PyTorch's LayerNorm, which the module does not change.
constexpr float kTinySquare = 1e-30F;   // Keeps a row of zeros what it is.

std::string step_name(std::int64_t step, const char* part) {
  return "sentence." + std::to_string(step) + part;
}

/// What entry `step` of the list `key` says.
Result<std::string> word_at(const Config& config, std::string_view key, std::int64_t step) {
  const ConfigList list = config.list(key);
  if (const auto at = static_cast<std::size_t>(step); at < list.size()) {
    if (const auto* word = std::get_if<std::string>(&list[at])) return *word;
  }
  return Error(ErrorCode::kMalformed, "a list of the configuration has not one word per step")
      .of(std::string(key));
}

/// f(w·x + b), plus x (or its own product) where the module has a residual.
Result<ValueId> dense(GraphBuilder& g, const Config& config, std::int64_t step, std::int64_t out,
                      ValueId x) {
  const std::int64_t in = g.cols(x);
  QUERN_TRY(word, word_at(config, "embedding.activations", step));
  ValueId y = g.linear(x, g.matrix(step_name(step, ".dense"), out, in), step_name(step, ".dense"),
                       g.vector(step_name(step, ".dense.bias"), out, true));
  if (!word.empty()) {
    QUERN_TRY(activation, parse_activation(word));
    y = g.activation(y, activation, step_name(step, ".activation"));
  }
  const std::string key = "embedding.step." + std::to_string(step) + ".residual";
  QUERN_TRY(residual, config.boolean_or(key, false));
  if (!residual) return y;
  const std::string name = step_name(step, ".residual");
  if (in != out) x = g.linear(x, g.matrix(name, out, in), name);
  return g.add(y, x, step_name(step, ".sum"));
}

Result<ValueId> apply_step(GraphBuilder& g, const Config& config, std::int64_t step, ValueId x) {
  QUERN_TRY(word, word_at(config, "embedding.steps", step));
  QUERN_TRY(out, evaluate_dimension("embedding.step." + std::to_string(step) + ".out", config));
  if (word == "dense") return dense(g, config, step, out, x);
  if (word == "layer_norm") {
    const std::string name = step_name(step, ".norm");
    return g.layer_norm(x, g.vector(name, out), g.vector(name + ".bias", out), kLayerNormEps, name);
  }
  if (word == "normalize") {
    const ValueId unit = g.rms_norm(x, graph::kNone, kTinySquare, step_name(step, ".rms"));
    return g.scale(unit, 1.0F / std::sqrt(static_cast<float>(out)), step_name(step, ".unit"));
  }
  return Error(ErrorCode::kUnsupported, "a step behind the encoder is not known to this version")
      .of("embedding.steps")
      .want("dense, normalize or layer_norm")
      .got(word.substr(0, 64));
}

}  // namespace

const std::vector<TensorRule>& sentence_tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules(5);
    const auto fill = [](TensorRule& rule, std::string_view name, std::string_view hf,
                         std::string_view when) {
      rule.name = name;
      rule.hf = {std::string(hf)};
      rule.rows = "embedding.step.{}.out";
      rule.cols = "embedding.step.{}.in";
      rule.when = when;
      rule.layers = "embedding.n_steps";
    };
    fill(rules[0], "sentence.{}.dense", "sentence.{}.linear.weight", "embedding.dense");
    fill(rules[1], "sentence.{}.dense.bias", "sentence.{}.linear.bias", "embedding.dense_bias");
    fill(rules[2], "sentence.{}.residual", "sentence.{}.residual.weight", "embedding.residual");
    fill(rules[3], "sentence.{}.norm", "sentence.{}.norm.weight", "embedding.layer_norm");
    fill(rules[4], "sentence.{}.norm.bias", "sentence.{}.norm.bias", "embedding.layer_norm");
    for (TensorRule* vector : {&rules[1], &rules[3], &rules[4]}) {
      vector->role = Role::kVector;
      vector->rows = "1";
      vector->cols = "embedding.step.{}.out";
    }
    return rules;
  }();
  return kRules;
}

bool has_sentence_steps(const Config& config) { return config.has("embedding.n_steps"); }

Result<std::optional<graph::Graph>> build_sentence_graph(const Config& config, ModuleStage stage,
                                                         const WeightLookup& weights) {
  QUERN_TRY(n_steps, config.integer_or("embedding.n_steps", 0));
  QUERN_TRY(n_row_steps, config.integer_or("embedding.n_row_steps", 0));
  const bool rows = stage == ModuleStage::kRows;
  const std::int64_t first = rows ? 0 : n_row_steps, last = rows ? n_row_steps : n_steps;
  if (first < 0 || last > n_steps)
    return Error(ErrorCode::kOutOfRange, "more steps work on rows than there are")
        .of("embedding.n_row_steps");
  if (first >= last) return std::optional<graph::Graph>();
  const std::string key = "embedding.step." + std::to_string(first) + ".in";
  QUERN_TRY(width, evaluate_dimension(key, config));
  GraphBuilder g(weights, 1);
  ValueId x = g.input(0, width, "rows");
  for (std::int64_t step = first; step < last; ++step) {
    QUERN_TRY(next, apply_step(g, config, step, x));
    x = next;
  }
  g.output("embedding", x);
  QUERN_TRY(graph, g.finish());
  return std::optional<graph::Graph>(std::move(graph));
}

}  // namespace quern::models
