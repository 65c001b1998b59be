/// \file
/// Granite 4's configuration: which layers scan, and the two MLPs of a layer.
#pragma once

#include <string_view>

#include "models/architecture.h"

namespace quern::models {

inline constexpr std::string_view kGraniteHybridGguf = "granitehybrid";

/// As Architecture's functions of these names.
Result<Config> read_granite_hybrid_config(const Config& source, SourceKind kind);
Result<Config> write_granite_hybrid_gguf_config(const Config& config);

}  // namespace quern::models
