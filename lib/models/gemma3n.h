/// \file
/// The parts of Gemma 3n's description: its configuration and its graph.
#pragma once

#include <string_view>

#include "models/blocks.h"

namespace quern::models {

inline constexpr std::string_view kGemma3nGguf = "gemma3n";

/// Canonical keys of its own: `altup.streams`, `altup.extra` (streams beyond the first),
/// `altup.many` (whether there are any), `altup.active`, `altup.correct_scale`, `per_layer_dim`,
/// `per_layer_vocab`, `laurel_rank`, `rope.local_theta`, `n_shared_kv`; one value per layer:
/// `kv_layer` (whose keys and values the layer reads), `own_kv` (whether its own), `sparse_layers`
/// and `sparse_deviations` (how many standard deviations above the mean a gate must be).
Result<Config> read_gemma3n_config(const Config& source, SourceKind kind);
Result<Config> write_gemma3n_gguf_config(const Config& config);

Result<graph::Graph> build_gemma3n(const Config& config, const WeightLookup& weights);

}  // namespace quern::models
