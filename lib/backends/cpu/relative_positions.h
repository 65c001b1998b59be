/// \file
/// Relative positions as rows of a table.
#pragma once

#include <cstdint>

namespace quern::backends::cpu {

/// The bucket of a key `distance` = key − query positions away, 0 … n_buckets − 1 (Raffel et al.
/// 2020, "T5", section 2.1): small distances have buckets of their own, larger ones share
/// logarithmically, those beyond `max_distance` the last. \pre n_buckets ≥ 4, max_distance >
/// n_buckets.
std::int64_t relative_bucket(std::int64_t distance, std::int64_t n_buckets,
                             std::int64_t max_distance, bool bidirectional) noexcept;

/// The signed bucket of `distance` = query − key (He et al. 2021, DeBERTa v2's logarithmic
/// buckets); `distance` itself where n_buckets is 0.
std::int64_t log_bucket(std::int64_t distance, std::int64_t n_buckets,
                        std::int64_t max_distance) noexcept;

}  // namespace quern::backends::cpu
