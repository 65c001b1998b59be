/// \file
/// The configuration of DeBERTa v2 and v3.
#pragma once

#include "models/architecture.h"

namespace quern::models {

/// Canonical keys of its own: `relative` (relative positions at all), `relative.keys` and
/// `relative.queries` (content attends to positions, positions to content), `relative.own_keys` and
/// `relative.own_queries` (by matrices of their own), `relative.norm`, `relative.span` (half the
/// rows of the table), `relative.n_buckets`, `relative.max_distance`.
Result<Config> read_deberta_v2_config(const Config& source, SourceKind kind);

}  // namespace quern::models
