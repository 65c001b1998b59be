#include "models/window_config.h"

#include <string>

namespace quern::models {

Status read_layer_types(const Config& source, std::int64_t window, Config& config) {
  const ConfigList types = source.list("layer_types");
  if (types.empty()) return {};
  ConfigList windows;
  for (const ConfigValue& value : types) {
    const auto* type = std::get_if<std::string>(&value);
    if (type == nullptr || (*type != "full_attention" && *type != "sliding_attention")) {
      return Error(ErrorCode::kUnsupported, "a kind of layer is not implemented")
          .of("layer_types")
          .want("full_attention or sliding_attention")
          .got(type != nullptr ? *type : "a value that is no string");
    }
    windows.emplace_back(*type == "sliding_attention" ? window : std::int64_t{0});
  }
  config.set("layer_windows", std::move(windows));
  return {};
}

Status set_periodic_windows(std::int64_t window, std::int64_t pattern, Config& config) {
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (pattern < 1 || n_layers < 1 || n_layers > 4096) {
    return Error(ErrorCode::kOutOfRange, "the pattern of sliding windows is out of range")
        .of("sliding_window_pattern");
  }
  ConfigList windows;
  for (std::int64_t i = 0; i < n_layers; ++i)
    windows.emplace_back((i + 1) % pattern == 0 ? std::int64_t{0} : window);
  config.set("layer_windows", std::move(windows));
  return {};
}

Result<std::int64_t> window_period(const Config& config) {
  const ConfigList windows = config.list("layer_windows");
  const ConfigValue full(std::int64_t{0});
  std::size_t pattern = 0;
  while (pattern < windows.size() && windows[pattern] != full) ++pattern;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if ((windows[i] == full) != ((i + 1) % (pattern + 1) == 0)) {
      return Error(ErrorCode::kUnsupported, "GGUF has no place for this order of sliding windows")
          .of("layer_windows");
    }
  }
  return static_cast<std::int64_t>(pattern + 1);
}

}  // namespace quern::models
