#include "models/qwen_moe.h"

#include <algorithm>

namespace quern::models {

Status read_sparse_layers(const Config& source, SourceKind kind, Config& config) {
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(step, source.integer_or("decoder_sparse_step", 1));
  if (n_layers < 1 || n_layers > 4096 || step < 1)
    return Error(ErrorCode::kOutOfRange, "layers with experts are out of range")
        .of("decoder_sparse_step");
  const ConfigList dense = source.list("mlp_only_layers");
  ConfigList layers;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    if (kind == SourceKind::kGguf) {
      layers.emplace_back(true);
      continue;
    }
    const bool listed = std::find(dense.begin(), dense.end(), ConfigValue(i)) != dense.end();
    layers.emplace_back(!listed && (i + 1) % step == 0);
  }
  config.set("mixture_layers", std::move(layers));
  return {};
}

Status check_gguf_sparse_layers(const Config& config) {
  for (const ConfigValue& sparse : config.list("mixture_layers")) {
    if (sparse != ConfigValue(true))
      return Error(ErrorCode::kUnsupported,
                   "GGUF knows this architecture with experts in every layer")
          .of("mixture_layers");
  }
  return {};
}

}  // namespace quern::models
