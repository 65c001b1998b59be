// EXAONE 4 (LG AI Research 2025, "EXAONE 4.0"): norms after the blocks and of every query and key
// head; in the hybrid models three layers of four have a window, and rotary is in those alone.
#include <algorithm>

#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "exaone4";
constexpr std::int64_t kPattern = 4;    // Every fourth layer is full.
constexpr std::int64_t kWindow = 4096;  // Where a configuration is silent.
/// quern's own: full layers alone, which have no rotary embedding beside layers with a window.
constexpr std::string_view kNothingTurns = "exaone4.rotary.none";

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, {kGguf}));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, kPattern, config, kWindow));
  QUERN_TRY(nothing_turns, source.boolean_or(kNothingTurns, false));
  if (nothing_turns) QUERN_CHECK(set_periodic_windows(0, 1, config));
  config.set("architecture", std::string("exaone4"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, {kGguf}));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, kPattern, out));
  const ConfigList windows = config.list("layer_windows");
  const ConfigValue full(std::int64_t{0});
  if (!windows.empty() && std::count(windows.begin(), windows.end(), full) ==
                              static_cast<std::ptrdiff_t>(windows.size()))
    out.set(std::string(kNothingTurns), true);
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.attn_norm = "",
                       .attn_post_norm = "layers.{}.post_attention_layernorm",
                       .ffn_norm = "",
                       .ffn_post_norm = "layers.{}.post_feedforward_layernorm"},
                      qk_norm_tensors());
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, DecoderDims::read(config));
  DecoderLayout layout{.placement = NormPlacement::kAfter,
                       .attention = {.qk_norm = QkNorm::kHeads}};
  if (config.has("layer_windows")) layout.rotary_layers = windowed_layers(dims);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kExaone4;
const Architecture kExaone4 = {
    "exaone4", {"Exaone4ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
