/// \file
/// What Qwen's mixtures share.
#pragma once

#include "models/config_io.h"

namespace quern::models {

/// Sets `mixture_layers` from `decoder_sparse_step` and `mlp_only_layers`, all true for a GGUF
/// file.
Status read_sparse_layers(const Config& source, SourceKind kind, Config& config);

/// Refuses a mixture that is not in every layer: GGUF has no place for the list.
Status check_gguf_sparse_layers(const Config& config);

}  // namespace quern::models
