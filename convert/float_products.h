/// \file
/// Products of dense float32 matrices by the engine's own kernels: fast on every instruction set,
/// and the same bits on all of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "convert/aligned_bytes.h"
#include "kernels/kernel_table.h"

namespace quern::convert {

/// A matrix `[n, n]`, n a multiple of 64, that is filled in rows and then laid out for products:
/// blocks of 64 rows, in each the panels `[64][16]` of 16 columns.
/// Thread rule: one owner; once laid out, any thread.
class BlockedMatrix {
 public:
  static constexpr std::int64_t kBlock = 64;    ///< Rows of a block.
  static constexpr std::int64_t kPanel = 16;    ///< Columns of a panel.
  static constexpr std::int64_t kVectors = 16;  ///< Rows of a product.

  explicit BlockedMatrix(std::int64_t n);
  BlockedMatrix(const BlockedMatrix&) = delete;
  BlockedMatrix& operator=(const BlockedMatrix&) = delete;

  std::int64_t n() const noexcept { return n_; }
  /// `[n, n]` row after row. \pre not laid out.
  float* rows() noexcept { return reinterpret_cast<float*>(bytes_.data()); }
  void lay_out();

  /// 16 elements of row `row`, from column 16·`panel` on. \pre laid out.
  const float* cells(std::int64_t row, std::int64_t panel) const noexcept {
    return reinterpret_cast<const float*>(bytes_.data()) + row / kBlock * kBlock * n_ +
           (panel * kBlock + row % kBlock) * kPanel;
  }
  float at(std::int64_t row, std::int64_t col) const noexcept {
    return cells(row, col / kPanel)[col % kPanel];
  }
  /// y `[16, n]` += x `[16, 64]` · the rows of block `block`, from column 16·`first_panel` on.
  /// \param x row r at x + r·x_stride. \pre laid out.
  void add_product(const float* x, std::int64_t x_stride, std::int64_t block,
                   std::int64_t first_panel, float* y) const;

 private:
  const kernels::KernelTable& kernels_;
  std::int64_t n_;
  AlignedBytes bytes_;
};

/// Adds products of columns: sum `[cols, cols]` += xᵀ·x, on and below the diagonal, for x
/// `[n, cols]`. Holds the scratch of one thread. Thread rule: one owner.
class ColumnProducts {
 public:
  static constexpr std::int64_t kBlock = 128;  ///< Rows of the sum that are handled at once.

  /// \param most_cols of any x.
  explicit ColumnProducts(std::int64_t most_cols);

  /// Adds those rows of the sum that fall to thread `thread` of `threads`: whole blocks, so that
  /// the sums are the same for any number of threads. Rows above and beside are not written, but
  /// for up to 127 elements right of the diagonal.
  void add(const float* x, std::int64_t n, std::int64_t cols, int thread, int threads,
           float* sum) noexcept;

 private:
  void pack_columns(const float* x, std::int64_t n, std::int64_t cols) noexcept;
  void pack_block(const float* x, std::int64_t n, std::int64_t cols, std::int64_t first,
                  std::int64_t count) noexcept;

  const kernels::KernelTable& kernels_;
  AlignedBytes panels_, turned_, packed_, scratch_;
};

}  // namespace quern::convert
