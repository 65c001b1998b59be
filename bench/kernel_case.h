/// \file
/// One thing that `bench_kernels` checks and times.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"

namespace quern::bench {

/// Which ceiling of the machine a kernel runs against.
enum class Bound : std::uint8_t { kInt8, kFloat, kNone };

/// A kernel with arguments of its own. `run` may be called again and again, with any table, and
/// always leaves the same numbers in `output`.
struct KernelCase {
  std::string name, shape;
  Bound bound = Bound::kNone;
  double macs = 0;      ///< Multiply-adds of a call; 0: not counted.
  double elements = 0;  ///< Numbers that a call makes, where multiply-adds are not counted.
  double bytes = 0;     ///< Weights or cache that a call reads; 0: not counted.
  std::function<void(const kernels::KernelTable&)> run;
  std::function<std::span<const float>()> output;
};

std::vector<KernelCase> linear_cases();     ///< Products and lookups of every encoding.
std::vector<KernelCase> pack_cases();       ///< Activations for them.
std::vector<KernelCase> attention_cases();  ///< Store, attention and merge of every cache type.
std::vector<KernelCase> vector_cases();     ///< Norms, activations, softmax, rotary, sums.
std::vector<KernelCase> recurrent_cases();  ///< Scans and causal convolutions.

}  // namespace quern::bench
