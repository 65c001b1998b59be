/// \file
/// Arguments of what a mixture of experts has beside its products: shared by the processor's side
/// and the device's.
///
/// A *slot* is one (row, choice); slots are sorted by expert, so that every expert is one matrix
/// product over its rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace quern::backends::cuda {

/// Chooses the experts of every row (graph::RouteOp); a warp for each.
struct RouteArgs {
  const float* x;     ///< `[T, experts]`
  const float* bias;  ///< `[experts]` or nullptr.
  float* out;         ///< `[T, 2·used]`
  std::int64_t rows;
  std::int32_t experts, used, groups, used_groups;
  float scale;
  bool sigmoid, normalise, group_by_two;
};
inline constexpr std::uint32_t kRouteThreads = 32;
/// Scores, what they are chosen by, and the groups' scores.
constexpr std::uint32_t route_shared_bytes(std::int32_t experts, std::int32_t groups) {
  return static_cast<std::uint32_t>(2 * experts + groups) * 4;
}

/// The slots by expert.
struct SlotTable {
  std::int32_t* begin;  ///< `[experts + 1]`: first sorted slot of each expert.
  std::int32_t* tile;   ///< `[experts]`: first row tile of its packed rows.
  std::int32_t* row;    ///< Of each sorted slot.
  std::int32_t* place;  ///< Sorted place of each slot, by row and choice.
};

/// Sorts the slots; one block.
struct SortSlotsArgs {
  SlotTable table;
  const float* route;  ///< `[T, 2·used]`
  std::int64_t rows;
  std::int32_t experts, used;
};
inline constexpr std::uint32_t kSortThreads = 256;
constexpr std::uint32_t sort_shared_bytes(std::int32_t experts) {
  return static_cast<std::uint32_t>(experts) * 4;
}

/// to[i] = from[row[i]]
struct GatherSlotsArgs {
  const float* from;
  const std::int32_t* row;
  float* to;  ///< `[slots, cols]`
  std::int64_t slots, cols;
};

/// gate ← f(gate) · up; with a limit as graph::ExpertsOp has it.
struct SlotGluArgs {
  float* gate;
  const float* up;
  std::int64_t n;
  float limit, alpha;
  kernels::Activation activation;
};

/// out = Σ weight · y, in the order of the row's choice.
struct CombineSlotsArgs {
  const float* y;  ///< `[slots, cols]`, sorted.
  const std::int32_t* place;
  const float* route;
  float* out;  ///< `[T, cols]`
  std::int64_t rows, cols;
  std::int32_t used;
};

}  // namespace quern::backends::cuda
