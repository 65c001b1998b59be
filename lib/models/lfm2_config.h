/// \file
/// LFM 2's configuration: which layers convolve, and the width of the MLP.
#pragma once

#include <string_view>

#include "models/architecture.h"

namespace quern::models {

inline constexpr std::string_view kLfm2Gguf = "lfm2";

/// As Architecture's functions of these names.
Result<Config> read_lfm2_config(const Config& source, SourceKind kind);
Result<Config> write_lfm2_gguf_config(const Config& config);

}  // namespace quern::models
