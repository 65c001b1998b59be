#include "convert/float_products.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/dispatch.h"

namespace quern::convert {
namespace {

constexpr auto kRowsF32 = static_cast<std::size_t>(RowFormat::kF32);
constexpr auto kF32 = static_cast<std::size_t>(Encoding::kF32);
/// Rows of x that are multiplied at once: their panels stay in the cache of a core.
constexpr std::int64_t kSlice = 128;

/// A model runs before anything is multiplied here, so the choice has been made and was possible.
const kernels::KernelTable& engine_kernels() { return *kernels::default_kernels().value(); }

std::uint64_t packed_bytes(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::uint64_t>(kernels::packed_rows_bytes(RowFormat::kF32, rows, cols));
}

std::uint64_t scratch_bytes(std::int64_t cols) {
  return static_cast<std::uint64_t>(kernels::linear_scratch_bytes(Encoding::kF32, cols));
}

std::uint64_t float_bytes(std::int64_t count) {
  return static_cast<std::uint64_t>(count) * sizeof(float);
}

}  // namespace

BlockedMatrix::BlockedMatrix(std::int64_t n)
    : kernels_(engine_kernels()), n_(n), bytes_(float_bytes(n * n)) {}

void BlockedMatrix::lay_out() {
  std::vector<float> block(static_cast<std::size_t>(kBlock * n_));
  for (std::int64_t first = 0; first < n_; first += kBlock) {
    float* to = rows() + first * n_;
    std::copy_n(to, kBlock * n_, block.begin());
    for (std::int64_t col = 0; col < n_; col += kPanel) {
      for (std::int64_t k = 0; k < kBlock; ++k, to += kPanel) {
        std::copy_n(block.data() + k * n_ + col, kPanel, to);
      }
    }
  }
}

void BlockedMatrix::add_product(const float* x, std::int64_t x_stride, std::int64_t block,
                                std::int64_t first_panel, float* y) const {
  const std::int64_t panels = n_ / kPanel - first_panel;
  if (panels == 0) return;
  AlignedBytes packed(packed_bytes(kVectors, kBlock)), scratch(scratch_bytes(kBlock));
  kernels_.pack_rows[kRowsF32]({.x = x,
                                .x_stride = x_stride,
                                .rows = kVectors,
                                .cols = kBlock,
                                .tile_begin = 0,
                                .tile_end = kVectors / kernels::kRowTile,
                                .out = packed.data()});
  kernels_.linear[kF32](
      {.weights = reinterpret_cast<const std::byte*>(cells(block * kBlock, first_panel)),
       .n = panels * kPanel,
       .k = kBlock,
       .panel_begin = 0,
       .panel_end = panels,
       .x = packed.data(),
       .rows = kVectors,
       .bias = nullptr,
       .y = y + first_panel * kPanel,
       .y_stride = n_,
       .accumulate = true,
       .scratch = scratch.data()});
}

ColumnProducts::ColumnProducts(std::int64_t most_cols)
    : kernels_(engine_kernels()),
      panels_(float_bytes((most_cols + 15) / 16 * 16 * kSlice)),
      turned_(float_bytes(kBlock * kSlice)),
      packed_(packed_bytes(kBlock, kSlice)),
      scratch_(scratch_bytes(kSlice)) {}

/// x as weights: 16 columns side by side, its rows one below the other.
void ColumnProducts::pack_columns(const float* x, std::int64_t n, std::int64_t cols) noexcept {
  auto* to = reinterpret_cast<float*>(panels_.data());
  for (std::int64_t col = 0; col < cols; col += 16) {
    const std::int64_t width = std::min<std::int64_t>(16, cols - col);
    for (std::int64_t row = 0; row < n; ++row, to += 16) {
      std::copy_n(x + row * cols + col, width, to);
      std::fill(to + width, to + 16, 0.0F);
    }
  }
}

/// Columns first … first + count of x as activation rows.
void ColumnProducts::pack_block(const float* x, std::int64_t n, std::int64_t cols,
                                std::int64_t first, std::int64_t count) noexcept {
  auto* turned = reinterpret_cast<float*>(turned_.data());
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t i = 0; i < count; ++i) turned[i * n + row] = x[row * cols + first + i];
  }
  kernels_.pack_rows[kRowsF32]({.x = turned,
                                .x_stride = n,
                                .rows = count,
                                .cols = n,
                                .tile_begin = 0,
                                .tile_end = (count + kernels::kRowTile - 1) / kernels::kRowTile,
                                .out = packed_.data()});
}

void ColumnProducts::add(const float* x, std::int64_t n, std::int64_t cols, int thread, int threads,
                         float* sum) noexcept {
  const std::int64_t blocks = (cols + kBlock - 1) / kBlock;
  for (std::int64_t row = 0; row < n; row += kSlice, x += kSlice * cols) {
    const std::int64_t rows = std::min(kSlice, n - row);
    pack_columns(x, rows, cols);
    // Long strips and short ones alternate, so that threads get about as much.
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t turn = i / threads, at = i % threads;
      if ((turn % 2 == 0 ? at : threads - 1 - at) != thread) continue;
      const std::int64_t first = i * kBlock, count = std::min(kBlock, cols - first);
      pack_block(x, rows, cols, first, count);
      kernels_.linear[kF32]({.weights = panels_.data(),
                             .n = first + count,
                             .k = rows,
                             .panel_begin = 0,
                             .panel_end = (first + count + 15) / 16,
                             .x = packed_.data(),
                             .rows = count,
                             .bias = nullptr,
                             .y = sum + first * cols,
                             .y_stride = cols,
                             .accumulate = true,
                             .scratch = scratch_.data()});
    }
  }
}

}  // namespace quern::convert
