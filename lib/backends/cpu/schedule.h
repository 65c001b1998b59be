/// \file
/// When the steps of a program run and where its buffers lie.
///
/// A program has two schedules of the same steps. With *many* rows, row-wise steps divide the rows
/// among the threads and walk them tile by tile, so that a tile stays in the first-level cache from
/// step to step. With *few* rows (at most one tile) every thread does all of a row-wise step into
/// buffers of its own: that costs less than waiting for one thread that does it for all.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernel_table.h"

namespace quern::backends::cpu {

/// Index of a buffer of the program's arena.
using BufferId = std::int32_t;

/// Rows up to which a step is run by the schedule for few.
inline constexpr std::int64_t kFewRows = kernels::kRowTile;

/// How a step's work is divided among threads.
enum class Split : std::uint8_t {
  kRows,       ///< By step rows: row t of what it writes depends on row t of what it reads.
  kOutputs,    ///< The same with the rows whose output was asked for.
  kSequences,  ///< The same with one row per sequence.
  kConstants,  ///< The same with the rows of a constant, in a program's first step.
  kOther,      ///< Panels, heads, …: the step divides its work by itself.
};

/// Which schedules hold a step.
enum class When : std::uint8_t { kAlways, kFew, kMany };

/// What must be known of a step to order it.
struct StepInfo {
  Split split;
  std::vector<BufferId> reads, writes;
  std::int64_t scratch_bytes = 0;  ///< Of each thread.
  When when = When::kAlways;
  const char* kind = nullptr;      ///< Its word in a trace; nullptr: the op's.
  std::int64_t constant_rows = 0;  ///< Where the split is kConstants.
};

struct BufferInfo {
  std::int64_t many_bytes, few_bytes;
  std::int64_t row_bytes = 0;  ///< Row t lies at t·row_bytes; 0: not so laid out.
  /// The buffer that dies where this one is born, whose place it takes when rows are many; −1:
  /// none.
  BufferId takes_over = -1;
  bool is_output = false;    ///< Read after the step: one for all threads, never reused.
  bool is_constant = false;  ///< Outlives every step: the same place in both schedules.
};

/// A buffer that holds one row tile at a time, because only one run knows it: it stays in the
/// first-level cache.
struct TileBuffer {
  BufferId id;
  std::int64_t row_bytes;
};

/// Consecutive steps that are divided in the same way.
struct Run {
  std::size_t begin, end;  ///< In Schedule::steps.
  Split split;
  bool replicated;      ///< Every thread does all rows, into buffers of its own.
  bool barrier_before;  ///< All threads have finished what stands before.
  std::int64_t constant_rows = 0;
  std::vector<TileBuffer> tile_buffers = {};
};

/// Parts of a program's memory.
enum class Part : std::uint8_t { kConstants, kShared, kOwn };

struct Place {
  std::int64_t offset;  ///< In its part; kOwn: each thread has one.
  Part part;
};

struct Schedule {
  std::vector<std::int32_t> steps;  ///< Indices of the program's steps, in order.
  std::vector<Run> runs;
  std::vector<Place> places;  ///< By BufferId.
  std::int64_t constant_bytes = 0, shared_bytes = 0, own_bytes = 0;

  /// Bytes of the parts that a step fills, for `threads` threads.
  std::int64_t bytes(int threads) const noexcept { return shared_bytes + threads * own_bytes; }
};

/// Orders steps given in an order that is right for one thread, with as few barriers as the
/// accesses allow. `few`: the schedule for at most kFewRows rows.
Schedule make_schedule(std::span<const StepInfo> steps, std::span<const BufferInfo> buffers,
                       bool few);

}  // namespace quern::backends::cpu
