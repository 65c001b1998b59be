/// \file
/// Rows sorted by the experts that they chose, so that every expert is one matrix product over its
/// rows. A row's product does not depend on its companions, and its experts' results are added in
/// the order of its choice: so the bits do not depend on who shares a step.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

#include "backends/cpu/step.h"
#include "backends/linear_observer.h"

namespace quern::backends::cpu {

/// A *slot* is one (row, choice); slots are sorted by expert. All in int32.
struct SlotTable {
  std::int32_t* begin;  ///< `[n_experts + 1]`: first sorted slot of each expert.
  std::int32_t* tile;   ///< `[n_experts]`: first row tile of its packed rows.
  std::int32_t* row;    ///< Of each sorted slot.
  std::int32_t* place;  ///< Sorted place of each slot, by row and choice.

  static std::int64_t bytes(std::int64_t n_experts, std::int64_t slots) {
    return (2 * n_experts + 1 + 2 * slots) * static_cast<std::int64_t>(sizeof(std::int32_t));
  }
  static SlotTable at(std::byte* memory, std::int64_t n_experts, std::int64_t slots) {
    auto* begin = reinterpret_cast<std::int32_t*>(memory);
    return {begin, begin + n_experts + 1, begin + 2 * n_experts + 1,
            begin + 2 * n_experts + 1 + slots};
  }
};

struct ExpertsShape {
  std::int64_t n_experts, n_used, dim, ffn_dim;
  BufferId x, route, table, sorted, packed_x, gate, up, down, out;

  std::int64_t slots(std::int64_t rows) const noexcept { return rows * n_used; }
  SlotTable slot_table(const StepContext& context) const {
    return SlotTable::at(context.bytes(table), n_experts, slots(context.rows()));
  }
  /// Row tiles that `rows` rows of the step can need: each expert's last one may be ragged.
  std::int64_t tiles(std::int64_t rows) const noexcept {
    const std::int64_t n = slots(rows);
    return n / kernels::kRowTile + std::min(n_experts, n);
  }
};

inline std::int64_t tile_bytes(RowFormat format, std::int64_t cols) {
  return kernels::packed_rows_bytes(format, kernels::kRowTile, cols);
}

/// Sorts the slots by expert: `route` → `table`. One thread: there are few.
std::unique_ptr<Step> make_sort_slots(const ExpertsShape& shape);
/// Which rows are packed where.
struct SlotPack {
  BufferId rows;    ///< Sorted float32 `[slots, cols]`.
  BufferId packed;  ///< Tiles in `format`.
  std::int64_t cols;
  RowFormat format;
  bool gathers = false;  ///< `rows` is filled from x first.
};
/// Packs every expert's rows; threads take experts.
std::unique_ptr<Step> make_pack_slots(const ExpertsShape& shape, const SlotPack& pack);
/// Shows the sorted rows that every expert is about to be multiplied by.
std::unique_ptr<Step> make_observe_slots(const ExpertsShape& shape, LinearObserver& observer,
                                         std::string_view weight, BufferId rows, std::int64_t cols);
/// out = Σ weight · down, in the order of the row's choice.
std::unique_ptr<Step> make_combine_slots(const ExpertsShape& shape);

}  // namespace quern::backends::cpu
