#include "backends/cuda/step_arrays.h"

#include <algorithm>

#include "backends/cuda/sequence_cache.h"

namespace quern::backends::cuda {
namespace {

constexpr std::uint64_t kWordArrays = 7;  ///< Arrays of int32 in StepArrays.

/// Bytes of one array of int32: one number more than rows, in whole lines.
std::uint64_t word_bytes(std::int64_t rows) noexcept {
  return (static_cast<std::uint64_t>(rows + 1) * sizeof(std::int32_t) + 63) / 64 * 64;
}

StepArrays arrays_at(std::uint64_t base, std::int64_t rows) noexcept {
  const auto words = [&](std::uint64_t number) {
    return reinterpret_cast<const std::int32_t*>(base + number * word_bytes(rows));
  };
  return {words(0), words(1),
          words(2), words(3),
          words(4), words(5),
          words(6), reinterpret_cast<const SequenceRecord*>(base + kWordArrays * word_bytes(rows))};
}

/// The host's copy of an array that kernels may only read.
template <class T>
T* writable(const T* array) noexcept {
  return const_cast<T*>(array);
}

/// The records of a step's sequences; a row's record is the last one that has begun.
StepArraysBuffer::Extent write_sequences(const StepBinding& step, const StepArrays& to) {
  std::int64_t end = 0;
  std::int32_t records = -1;
  const auto rows = static_cast<std::int32_t>(step.sequences.size());
  for (std::int32_t row = 0; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    const auto& cache = *static_cast<const SequenceCache*>(step.sequences[at]);
    SequenceRecord* record = writable(to.sequences) + std::max(records, 0);
    if (row == 0 || step.sequences[at] != step.sequences[at - 1]) {
      record = writable(to.sequences) + ++records;
      *record = cache.record(row, row + 1);
    }
    record->end_row = row + 1;
    writable(to.sequence)[at] = records;
    end = std::max({end, step.positions[at] + 1, cache.source_rows()});
  }
  if (rows == 0) return {0, static_cast<std::int64_t>(step.starts.size())};
  return {end, records + 1};
}

}  // namespace

std::uint64_t StepArraysBuffer::bytes(std::int64_t rows) noexcept {
  return kWordArrays * word_bytes(rows) + static_cast<std::uint64_t>(rows) * sizeof(SequenceRecord);
}

Result<StepArraysBuffer> StepArraysBuffer::create(Device& device, std::int64_t max_rows) {
  StepArraysBuffer buffer;
  QUERN_TRY(host, device.allocate_pinned(bytes(max_rows)));
  QUERN_TRY(memory, device.allocate(bytes(max_rows)));
  buffer.host_ = std::move(host);
  buffer.device_ = std::move(memory);
  std::fill_n(buffer.host_.data(), buffer.host_.size(), std::byte{0});
  return buffer;
}

StepArrays StepArraysBuffer::arrays(std::int64_t rows) const noexcept {
  return arrays_at(device_.address(), rows);
}

StepArraysBuffer::Extent StepArraysBuffer::write(const StepBinding& step) noexcept {
  const std::size_t rows = step.tokens.size();
  const StepArrays to =
      arrays_at(reinterpret_cast<std::uint64_t>(host_.data()), static_cast<std::int64_t>(rows));
  for (std::size_t row = 0; row < rows; ++row) {
    writable(to.tokens)[row] = step.tokens[row];
    writable(to.positions)[row] = static_cast<std::int32_t>(step.positions[row]);
    writable(to.lengths)[row] =
        static_cast<std::int32_t>(step.length_of(static_cast<std::int64_t>(row)));
    writable(to.types)[row] = step.types.empty() ? 0 : step.types[row];
  }
  std::copy(step.output_rows.begin(), step.output_rows.end(), writable(to.output_rows));
  std::copy(step.starts.begin(), step.starts.end(), writable(to.starts));
  writable(to.starts)[step.starts.size()] = static_cast<std::int32_t>(rows);
  return write_sequences(step, to);
}

Status StepArraysBuffer::send(Stream& stream, std::int64_t rows) const {
  return stream.upload(device_.address(), host_.data(), bytes(rows));
}

}  // namespace quern::backends::cuda
