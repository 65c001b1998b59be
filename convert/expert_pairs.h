/// \file
/// Low-rank pairs of an adapter for the matrices of a mixture's experts.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "convert/adapter_source.h"
#include "models/architecture.h"
#include "quern/result.h"

namespace quern::convert {

/// One pair for every expert, filled up with zeros to the largest rank among them (an expert that
/// the adapter leaves alone has nothing else).
struct ExpertPairs {
  std::int64_t rank = 0;
  std::vector<float> a;        ///< `[count, rank, cols]`
  std::vector<float> b;        ///< `[count, rows, rank]`, scaled.
  std::set<std::string> used;  ///< The source's tensors that they were made from.
};

/// Reads what the adapter has for `expected`, of which there are `count`: a pair per expert in
/// modules of their own, pairs that lie stacked (GGUF), or PEFT's for a parameter of all experts
/// (`target_parameters`: A `[count·rank, cols]`, B `[rows, rank·count]`, an expert's columns of B
/// being every count-th one). Nothing where it has nothing.
/// Errors: kMismatch (shapes), kUnsupported (types; IA3 and DoRA of experts), kOutOfRange (a rank
/// larger than the matrix), all naming the module.
Result<std::optional<ExpertPairs>> read_expert_pairs(const AdapterSource& source,
                                                     const models::ExpectedTensor& expected);

}  // namespace quern::convert
