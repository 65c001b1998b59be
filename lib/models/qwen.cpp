#include "models/qwen.h"

#include "models/config_io.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

// Where a configuration is silent.
constexpr std::int64_t kWindow = 4096, kWindowLayers = 28;

Status read_window(const Config& source, Config& config) {
  QUERN_TRY(use_window, source.boolean_or("use_sliding_window", false));
  QUERN_TRY(window, optional_integer(source, "sliding_window", kWindow));
  if (!use_window || window <= 0) return {};
  QUERN_CHECK(read_layer_types(source, window, config));
  if (config.has("layer_windows")) return {};
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(first, source.integer_or("max_window_layers", kWindowLayers));
  if (n_layers < 1 || n_layers > 4096) return {};  // Refused where dimensions are checked.
  ConfigList windows;
  for (std::int64_t layer = 0; layer < n_layers; ++layer) {
    windows.emplace_back(layer >= first ? window : std::int64_t{0});
  }
  config.set("layer_windows", std::move(windows));
  return {};
}

}  // namespace

Result<Config> read_qwen_config(const Config& source, SourceKind kind, std::string_view gguf_arch) {
  QUERN_TRY(config, read_decoder_config(source, kind, {gguf_arch}));
  QUERN_CHECK(read_rope(source, kind, {gguf_arch}, config));
  if (kind == SourceKind::kHuggingFace) QUERN_CHECK(read_window(source, config));
  return config;
}

Result<Config> write_gguf_qwen_config(const Config& config, const DecoderSpelling& spelling) {
  for (const ConfigValue& window : config.list("layer_windows")) {
    if (window != ConfigValue(std::int64_t{0})) {
      return Error(ErrorCode::kUnsupported, "GGUF has no place for this model's sliding windows")
          .of("layer_windows");
    }
  }
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling));
  QUERN_CHECK(write_gguf_rope(config, spelling.gguf_arch, out));
  return out;
}

Result<Config> write_gguf_qwen_config(const Config& config, std::string_view gguf_arch) {
  return write_gguf_qwen_config(config, DecoderSpelling{gguf_arch});
}

Status read_qwen_moe_windows(const Config& source, SourceKind kind, bool alternating,
                             Config& config) {
  QUERN_TRY(use_window, source.boolean_or("use_sliding_window", false));
  QUERN_TRY(window, optional_integer(source, "sliding_window", kWindow));
  if (kind == SourceKind::kGguf || !use_window || window <= 0) return {};
  QUERN_CHECK(read_layer_types(source, window, config));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (config.has("layer_windows") || n_layers < 1 || n_layers > 4096) return {};
  QUERN_TRY(last, source.integer_or("max_window_layers", kWindowLayers));
  ConfigList windows;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    const bool slides = !alternating || (i % 2 == 0 && i < last);
    windows.emplace_back(slides ? window : std::int64_t{0});
  }
  config.set("layer_windows", std::move(windows));
  return {};
}

}  // namespace quern::models
