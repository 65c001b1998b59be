/// \file
/// Which layers see only a window of positions: the canonical list `layer_windows`, 0 for full
/// attention.
#pragma once

#include "models/architecture.h"

namespace quern::models {

/// Sets `layer_windows` from the source's `layer_types` ("sliding_attention" layers get `window`);
/// names other kinds of layers in a kUnsupported error. Does nothing where the source has no
/// `layer_types`.
Status read_layer_types(const Config& source, std::int64_t window, Config& config);

/// Sets `layer_windows` where every `pattern`-th layer is full and the others see `window`
/// positions.
Status set_periodic_windows(std::int64_t window, std::int64_t pattern, Config& config);

/// The reverse; kUnsupported where the windows have no period.
Result<std::int64_t> window_period(const Config& config);

}  // namespace quern::models
