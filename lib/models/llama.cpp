// Llama 1–3 and what is built alike: SmolLM2, Mistral (its window included), TinyLlama, Yi, …
// (Touvron et al. 2023, "LLaMA"; Jiang et al. 2023, "Mistral 7B").
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "llama";
constexpr std::int64_t kMistralWindow = 4096;  // Where a configuration is silent.

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, {kGguf}));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  const bool hf = kind == SourceKind::kHuggingFace;
  const std::int64_t absent = hf && is_class(source, "Mistral") ? kMistralWindow : 0;
  QUERN_TRY(window, optional_integer(
                        source, hf ? "sliding_window" : "llama.attention.sliding_window", absent));
  // The class of Llama has no windows, whatever its configuration says.
  if (window > 0 && !(hf && is_class(source, "Llama"))) config.set("window", window);
  config.set("architecture", std::string("llama"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, {kGguf}));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  if (config.has("window")) out.set("llama.attention.sliding_window", *config.find("window"));
  return out;
}

const std::vector<TensorRule>& tensors() {
  // GGUF stores the rows of wq and wk as neighbouring pairs.
  static const std::vector<TensorRule> kRules = decoder_tensors({.gguf_qk = Transform::kRopeRows});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {});
}

}  // namespace

extern const Architecture kLlama;
const Architecture kLlama = {"llama",
                             {"LlamaForCausalLM", "MistralForCausalLM"},
                             {kGguf},
                             read_config,
                             write_gguf_config,
                             tensors,
                             build};

}  // namespace quern::models
