#include "convert/row_norms.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>

#include "convert/parallel.h"
#include "quant/registry.h"
#include "runtime/model_state.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kRows = quant::kPanelRows;

/// Adds b·a to a row of W. \return its length.
double updated_length(std::span<float> row, std::span<const float> a, std::span<const float> b) {
  for (std::size_t r = 0; r < b.size(); ++r) {
    const float factor = b[r];
    const auto from = a.subspan(r * row.size(), row.size());
    for (std::size_t k = 0; k < row.size(); ++k) row[k] += factor * from[k];
  }
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

}  // namespace

Result<std::vector<float>> row_norms(const Model& base, const std::string& matrix,
                                     std::span<const float> a, std::span<const float> b,
                                     std::int64_t rank) {
  const Model::State& state = base.state();
  const formats::TensorEntry* entry = state.file.find(matrix);
  const auto width = static_cast<std::size_t>(rank);
  const bool fits = entry != nullptr && state.executor != nullptr && entry->n_dims == 2 &&
                    entry->layout == Layout::kPanel16 && width > 0 &&
                    quant::find_ops(entry->encoding) != nullptr &&
                    a.size() == entry->cols() * width && b.size() == entry->rows() * width;
  if (!fits)
    return Error(ErrorCode::kMismatch, "the adapter was made for another model")
        .in_file(base.path())
        .of(matrix);
  const auto rows = static_cast<std::int64_t>(entry->rows());
  const auto cols = static_cast<std::int64_t>(entry->cols());
  const auto size = static_cast<std::size_t>(cols);
  const quant::EncodingOps& ops = *quant::find_ops(entry->encoding);
  const std::uint64_t stride =
      panel_bytes(*find_encoding(entry->encoding), entry->cols()).value_or(0);
  std::vector<float> norms(static_cast<std::size_t>(rows));
  const auto panels = static_cast<std::size_t>((rows + kRows - 1) / kRows);
  const std::lock_guard lock(*state.run_mutex);
  QUERN_CHECK(run_parallel(*state.executor, panels, [&](std::size_t panel, int) -> Status {
    std::vector<float> values(static_cast<std::size_t>(kRows) * size);
    ops.dequantize_panel(entry->data.data() + panel * stride, cols, values.data());
    const std::int64_t first = static_cast<std::int64_t>(panel) * kRows;
    for (std::int64_t row = first; row < std::min(rows, first + kRows); ++row) {
      const auto at = static_cast<std::size_t>(row);
      const auto in = static_cast<std::size_t>(row - first);
      norms[at] = static_cast<float>(updated_length(std::span(values).subspan(in * size, size), a,
                                                    b.subspan(at * width, width)));
    }
    return {};
  }));
  return norms;
}

Result<std::vector<float>> dequantized_row(const Model& base, const std::string& matrix,
                                           std::int64_t row) {
  const formats::TensorEntry* entry = base.state().file.find(matrix);
  const bool fits = entry != nullptr && entry->n_dims == 2 && row >= 0 &&
                    static_cast<std::uint64_t>(row) < entry->rows() &&
                    entry->layout == Layout::kPanel16 &&
                    quant::find_ops(entry->encoding) != nullptr;
  if (!fits)
    return Error(ErrorCode::kMismatch, "the adapter was made for another model")
        .in_file(base.path())
        .of(matrix);
  const auto cols = static_cast<std::size_t>(entry->cols());
  const std::uint64_t stride =
      panel_bytes(*find_encoding(entry->encoding), entry->cols()).value_or(0);
  std::vector<float> panel(static_cast<std::size_t>(kRows) * cols);
  quant::find_ops(entry->encoding)
      ->dequantize_panel(entry->data.data() + static_cast<std::uint64_t>(row / kRows) * stride,
                         static_cast<std::int64_t>(cols), panel.data());
  const auto at = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row % kRows) * cols);
  return std::vector<float>(panel.begin() + at,
                            panel.begin() + at + static_cast<std::ptrdiff_t>(cols));
}

}  // namespace quern::convert
