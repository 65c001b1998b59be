/// \file
/// Which layers see only a window of positions: the canonical list `layer_windows`, 0 for full
/// attention, or `window` for all of them.
#pragma once

#include <string_view>

#include "models/architecture.h"

namespace quern::models {

/// Sets `layer_windows` from the source's `layer_types` ("sliding_attention" layers get `window`);
/// names other kinds of layers in a kUnsupported error. Does nothing where the source has no
/// `layer_types`.
Status read_layer_types(const Config& source, std::int64_t window, Config& config);

/// Sets `layer_windows` where every `pattern`-th layer is full and the others see `window`
/// positions.
Status set_periodic_windows(std::int64_t window, std::int64_t pattern, Config& config);

/// Hugging Face: `sliding_window` (`absent` where the configuration does not have the key, null
/// being none) and `layer_types`; without the latter every `pattern`-th layer is full (0: none is).
/// GGUF: `<arch>.attention.sliding_window` and its `_pattern`, a period or a flag per layer.
/// Nothing where there is no window.
Status read_windows(const Config& source, SourceKind kind, std::string_view gguf_arch,
                    std::int64_t pattern, Config& config, std::int64_t absent = 0);

/// The reverse for GGUF; `pattern` is what the architecture implies there.
Status write_gguf_windows(const Config& config, std::string_view gguf_arch, std::int64_t pattern,
                          Config& out);

}  // namespace quern::models
