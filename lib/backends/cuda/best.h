/// \file
/// The best logits of a step's output rows, ranked on the device, so that a sampler that looks at
/// no others needs a few hundred bytes of them and not the vocabulary.
#pragma once

#include <cstdint>
#include <string_view>

#include "backends/cuda/lowering.h"
#include "base/ranked_logit.h"

namespace quern::backends::cuda {

/// The output whose best values StepBinding::best asks for.
inline constexpr std::string_view kRankedOutput = "logits";
/// How many of a row's logits are ranked at most, and of how many rows of a step.
inline constexpr std::int64_t kMostBest = 128, kBestRows = kFewRows;

/// Adds the step that ranks `logits`; it does nothing where LaunchContext::best is 0.
BestKeys add_best(Lowering& lowering, graph::ValueId logits);

/// What a key stands for (kernels/best_args.h).
base::RankedLogit ranked_logit(std::uint64_t key) noexcept;

}  // namespace quern::backends::cuda
