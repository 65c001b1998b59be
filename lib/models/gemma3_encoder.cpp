// Gemma 3 with attention in both directions, as EmbeddingGemma has it (Schechter Vera et al. 2025,
// "EmbeddingGemma"): the decoder's layers over whole texts, without a cache or an output matrix.
#include <string>

#include "models/config_io.h"
#include "models/gemma3.h"

namespace quern::models {
namespace {

/// A window of w is shared out to both sides: a row sees those at most w / 2 away.
Status halve_windows(Config& config) {
  ConfigList windows = config.list("layer_windows");
  for (ConfigValue& value : windows) {
    const auto* window = std::get_if<std::int64_t>(&value);
    if (window == nullptr || *window == 0) continue;
    if (*window < 2)
      return Error(ErrorCode::kUnsupported, "a window without neighbours is not implemented")
          .of("sliding_window")
          .want("at least 2")
          .got(std::to_string(*window));
    value = *window / 2;
  }
  if (!windows.empty()) config.set("layer_windows", std::move(windows));
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(both_ways, source.boolean_or("use_bidirectional_attention", false));
  if (!both_ways)
    return Error(ErrorCode::kUnsupported,
                 "hidden states of a Gemma 3 that sees no later tokens are not implemented")
        .of("use_bidirectional_attention")
        .want("true")
        .got("false");
  QUERN_TRY(config, read_gemma3_config(source, kind));
  QUERN_CHECK(halve_windows(config));
  for (const char* head : {"head.masked_lm", "head.sequence", "head.tokens"})
    config.set(head, false);
  config.set("architecture", std::string("gemma3_encoder"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = gemma3_tensors(false);
  return kRules;
}

/// wo · attention(rope(norm(wq·h)), rope(norm(wk·h)), wv·h).
graph::ValueId attention(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId angles, float scale) {
  const auto turned = [&](graph::ValueId x, const std::string& part) {
    const std::string norm = layer_name(layer, part + "_norm");
    x = g.rms_norm_heads(x, g.vector(norm, dims.head_dim), dims.norm_eps, dims.head_dim, norm);
    return g.rope(x, angles, dims.head_dim, false, part + "_rope");
  };
  const std::int64_t kv_cols = dims.n_kv_heads * dims.head_dim;
  // All products before what is done to each: they share the packed rows.
  const graph::ValueId q = project(g, h, layer_name(layer, "wq"), dims.n_heads * dims.head_dim);
  const graph::ValueId k = project(g, h, layer_name(layer, "wk"), kv_cols);
  const graph::ValueId v = project(g, h, layer_name(layer, "wv"), kv_cols);
  const std::int64_t window = dims.windows[static_cast<std::size_t>(layer)];
  const graph::ValueId heads = g.encoder_attention(
      {turned(q, "q"), turned(k, "k"), v, dims.n_heads, scale, window}, "attention");
  return project(g, heads, layer_name(layer, "wo"), dims.dim);
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, DecoderDims::read(config));
  QUERN_TRY(scale, config.number("attention_scale"));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  const auto attend = [&](std::int64_t layer, graph::ValueId h, graph::ValueId angles) {
    return attention(g, dims, layer, h, angles, static_cast<float>(scale));
  };
  QUERN_TRY(x, gemma3_layers(g, config, dims, embed, attend));
  g.set_layer(-1);
  g.output("last_hidden_state", norm_of(g, NormKind::kRms, dims.norm_eps, x, "norm"));
  return g.finish();
}

}  // namespace

extern const Architecture kGemma3Encoder;
const Architecture kGemma3Encoder = {
    "gemma3_encoder", {"Gemma3TextModel"}, {}, read_config, nullptr, tensors, build};

}  // namespace quern::models
