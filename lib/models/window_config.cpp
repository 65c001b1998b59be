#include "models/window_config.h"

#include <algorithm>
#include <string>

#include "models/config_io.h"

namespace quern::models {
namespace {

bool is_set(const ConfigValue& flag) {
  if (const auto* value = std::get_if<bool>(&flag)) return *value;
  const auto* number = std::get_if<std::int64_t>(&flag);
  return number != nullptr && *number != 0;
}

/// n where every n-th layer is full and no other; 0 where there is no such n.
std::int64_t period_of(const ConfigList& windows) {
  const ConfigValue full(std::int64_t{0});
  std::size_t pattern = 0;
  while (pattern < windows.size() && windows[pattern] != full) ++pattern;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if ((windows[i] == full) != ((i + 1) % (pattern + 1) == 0)) return 0;
  }
  return static_cast<std::int64_t>(pattern + 1);
}

}  // namespace

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

Status read_windows(const Config& source, SourceKind kind, std::string_view gguf_arch,
                    std::int64_t pattern, Config& config, std::int64_t absent) {
  const bool hf = kind == SourceKind::kHuggingFace;
  const std::string key =
      hf ? "sliding_window" : std::string(gguf_arch) + ".attention.sliding_window";
  QUERN_TRY(window, optional_integer(source, key, hf ? absent : 0));
  if (window <= 0) return {};
  if (hf) {
    QUERN_CHECK(read_layer_types(source, window, config));
    if (config.has("layer_windows")) return {};
  } else if (const ConfigList flags = source.list(key + "_pattern"); flags.size() > 1) {
    ConfigList windows;
    for (const ConfigValue& flag : flags)
      windows.emplace_back(is_set(flag) ? window : std::int64_t{0});
    config.set("layer_windows", std::move(windows));
    return {};
  }
  QUERN_TRY(period, source.integer_or(hf ? "sliding_window_pattern" : key + "_pattern", pattern));
  if (period > 0) return set_periodic_windows(window, period, config);
  config.set("window", window);
  return {};
}

Status write_gguf_windows(const Config& config, std::string_view gguf_arch, std::int64_t pattern,
                          Config& out) {
  const std::string key = std::string(gguf_arch) + ".attention.sliding_window";
  if (config.has("window")) out.set(key, *config.find("window"));
  const ConfigList windows = config.list("layer_windows");
  const ConfigValue full(std::int64_t{0});
  const auto sliding = std::find_if(windows.begin(), windows.end(),
                                    [&](const ConfigValue& window) { return window != full; });
  if (sliding == windows.end()) return {};
  out.set(key, *sliding);
  if (const auto period = period_of(windows); period != 0) {
    if (period != pattern) out.set(key + "_pattern", period);
    return {};
  }
  ConfigList flags;
  for (const ConfigValue& window : windows) flags.emplace_back(window != full);
  out.set(key + "_pattern", std::move(flags));
  return {};
}

}  // namespace quern::models
