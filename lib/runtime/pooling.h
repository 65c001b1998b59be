/// \file
/// Words for the kinds of pooling, and what is made of rows.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "quern/config.h"
#include "quern/model.h"

namespace quern::runtime {

/// What `embedding.pooling` says, a word or a list of them: "mean", "first", "last", "max",
/// "weighted_mean" or "mean_sqrt"; the mean where it says nothing. kUnsupported by name for any
/// other word.
Result<std::vector<Pooling>> read_poolings(const Config& config);

/// One pooling of rows `[n, dim]`, appended to `out`. \pre rows.size() is a positive multiple of
/// dim
void append_pooled(std::span<const float> rows, std::size_t dim, Pooling pooling,
                   std::vector<float>& out);

/// Makes the length one; zeros stay.
void make_unit(std::span<float> x);

}  // namespace quern::runtime
