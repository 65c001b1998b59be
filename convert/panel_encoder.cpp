#include "convert/panel_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/scalar_math.h"
#include "convert/baking.h"
#include "convert/mxfp4_streams.h"
#include "quern/checked.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kRows = quant::kPanelRows;
/// The smallest magnitude that rounds to infinity in float16.
constexpr float kHalfOverflow = 65520.0F;

std::uint64_t encoded_panel_bytes(Encoding encoding, std::int64_t cols) {
  return panel_bytes(*find_encoding(encoding), static_cast<std::uint64_t>(cols)).value_or(0);
}

/// Whether all magnitudes are below the limit; not where there is a NaN. Without a branch, which
/// compilers vectorize.
bool all_below(const float* x, std::int64_t n, float limit) {
  unsigned beyond = 0;
  for (std::int64_t i = 0; i < n; ++i) beyond |= std::fabs(x[i]) < limit ? 0U : 1U;
  return beyond == 0;
}

}  // namespace

std::uint64_t MatrixJob::panel_bytes(std::int64_t panel) const noexcept {
  if (layout == Layout::kPanel16) return encoded_panel_bytes(to, cols);
  const auto rows_here = std::min(kRows, rows - panel * kRows);
  return static_cast<std::uint64_t>(rows_here) * quant::find_ops(to)->foreign_row_bytes(cols);
}

std::uint64_t MatrixJob::bytes() const noexcept {
  if (panels() == 0) return 0;
  return static_cast<std::uint64_t>(panels() - 1) * panel_bytes(0) + panel_bytes(panels() - 1);
}

Result<std::vector<float>> job_values(const MatrixJob& job) {
  std::vector<float> values(static_cast<std::size_t>(job.rows * job.cols));
  PanelEncoder encoder(job);
  AlignedBytes panel(static_cast<std::uint64_t>(kRows * job.cols) * sizeof(float));
  std::size_t at = 0;
  for (std::int64_t p = 0; p < job.panels(); ++p) {
    QUERN_CHECK(encoder.encode(p, panel.data()));
    std::memcpy(values.data() + at, panel.data(), job.panel_bytes(p));
    at += job.panel_bytes(p) / sizeof(float);
  }
  return values;
}

std::uint64_t TensorJob::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const MatrixJob& matrix : matrices) sum += matrix.bytes();
  return sum;
}

bool TensorJob::keeps_bits() const noexcept {
  return std::all_of(matrices.begin(), matrices.end(),
                     [](const MatrixJob& matrix) { return matrix.keeps_bits(); });
}

double QuantizationError::relative_square() const noexcept {
  if (outputs.square > 0) return outputs.error / outputs.square;
  return square > 0 ? error / square : 0.0;
}

QuantizationError& QuantizationError::operator+=(const QuantizationError& other) noexcept {
  square += other.square;
  error += other.error;
  outputs.square += other.outputs.square;
  outputs.error += other.outputs.error;
  return *this;
}

PanelEncoder::PanelEncoder(const MatrixJob& job, const MatrixCalibration* calibration)
    : job_(job),
      calibration_(calibration),
      from_(*quant::find_ops(job.from)),
      to_(*quant::find_ops(job.to)),
      from_row_(job.turned.empty() ? from_.foreign_row_bytes(job.cols) : 0),
      to_row_(to_.foreign_row_bytes(job.cols)),
      from_panel_(job.turned.empty() ? encoded_panel_bytes(job.from, job.cols) : 0),
      packed_(AlignedBytes(std::max(from_panel_, encoded_panel_bytes(job.to, job.cols)))) {
  const bool interleaved = job.turned.empty() && job.source->layout == Layout::kPanel16;
  if (interleaved || job.change.transpose || !job.scales.empty()) {
    row_bytes_ = AlignedBytes(static_cast<std::uint64_t>(kRows) * from_row_);
  }
  if (interleaved && job.change.moves_rows()) {
    spare_ = AlignedBytes(static_cast<std::uint64_t>(kRows) * from_row_);
  }
  if (!job.copies_bits()) {
    values_.reset(new float[static_cast<std::size_t>(kRows * job.cols)]);
    if (interleaved && job.change.moves_rows()) {
      picked_.reset(new float[static_cast<std::size_t>(kRows * job.cols)]);
    }
  }
}

int PanelEncoder::rows_of(std::int64_t panel) const noexcept {
  return static_cast<int>(std::min(kRows, job_.rows - panel * kRows));
}

const std::byte* PanelEncoder::source_panel(std::int64_t panel) const noexcept {
  return job_.data.data() + static_cast<std::uint64_t>(panel) * from_panel_;
}

/// Points `rows` at the source bytes of the output rows of `panel`, null beyond the last one.
void PanelEncoder::foreign_rows(std::int64_t panel, Rows& rows) {
  std::fill(std::begin(rows), std::end(rows), nullptr);
  if (job_.source->layout == Layout::kPanel16) return gather_interleaved(panel, rows);
  if (job_.change.transpose) return gather_transposed(panel, rows);
  if (!job_.scales.empty()) return gather_streams(panel, rows);
  for (int r = 0; r < rows_of(panel); ++r) {
    const auto row = static_cast<std::uint64_t>(job_.change.source_row(panel * kRows + r));
    rows[r] = job_.data.data() + row * from_row_;
  }
}

void PanelEncoder::gather_transposed(std::int64_t panel, Rows& rows) {
  // Only float types reach this (the plan checks), so an element is a whole number of bytes.
  const std::uint64_t element = from_.foreign_row_bytes(1);
  const std::uint64_t stride = static_cast<std::uint64_t>(job_.source_rows) * element;
  for (int r = 0; r < rows_of(panel); ++r) {
    std::byte* to = row_bytes_.data() + static_cast<std::uint64_t>(r) * from_row_;
    rows[r] = to;
    const auto row = static_cast<std::uint64_t>(job_.change.source_row(panel * kRows + r));
    const std::byte* from = job_.data.data() + row * element;
    for (std::int64_t k = 0; k < job_.cols; ++k, from += stride, to += element) {
      std::memcpy(to, from, element);
    }
  }
}

void PanelEncoder::gather_streams(std::int64_t panel, Rows& rows) {
  for (int r = 0; r < rows_of(panel); ++r) {
    std::byte* to = row_bytes_.data() + static_cast<std::uint64_t>(r) * from_row_;
    rows[r] = to;
    join_mxfp4_row(job_.data, job_.scales, job_.change.source_row(panel * kRows + r), job_.cols,
                   to);
  }
}

/// Calls open(p) once for every source panel p that holds rows of output panel `panel`, then
/// take(r, i) for each output row r that is row i of p.
template <class Open, class Take>
void PanelEncoder::visit_source_panels(std::int64_t panel, const Open& open, const Take& take) {
  bool done[kRows] = {};
  for (int first = 0; first < rows_of(panel); ++first) {
    if (done[first]) continue;
    const std::int64_t from = job_.change.source_row(panel * kRows + first) / kRows;
    open(from);
    for (int r = first; r < rows_of(panel); ++r) {
      const std::int64_t row = job_.change.source_row(panel * kRows + r);
      if (row / kRows != from) continue;
      take(r, row % kRows);
      done[r] = true;
    }
  }
}

void PanelEncoder::gather_interleaved(std::int64_t panel, Rows& rows) {
  const bool moved = job_.change.moves_rows();
  std::byte* all[kRows];
  std::byte* unpacked = moved ? spare_.data() : row_bytes_.data();
  for (int r = 0; r < kRows; ++r) all[r] = unpacked + static_cast<std::uint64_t>(r) * from_row_;
  visit_source_panels(
      panel,
      [&](std::int64_t from) { from_.deinterleave_panel(source_panel(from), job_.cols, all); },
      [&](int r, std::int64_t at) {
        rows[r] = all[at];
        if (!moved) return;
        std::byte* to = row_bytes_.data() + static_cast<std::uint64_t>(r) * from_row_;
        std::memcpy(to, all[at], from_row_);
        rows[r] = to;
      });
}

/// Fills values_ with the float rows of output panel `panel`, before any change of value.
void PanelEncoder::read_floats(std::int64_t panel) {
  if (job_.source->layout == Layout::kPlain) {
    Rows rows;
    foreign_rows(panel, rows);
    from_.interleave_panel(rows, job_.cols, packed_.data());
    from_.dequantize_panel(packed_.data(), job_.cols, values_.get());
    return;
  }
  if (!job_.change.moves_rows()) {
    from_.dequantize_panel(source_panel(panel), job_.cols, values_.get());
    return;
  }
  visit_source_panels(
      panel,
      [&](std::int64_t from) {
        from_.dequantize_panel(source_panel(from), job_.cols, picked_.get());
      },
      [&](int r, std::int64_t at) {
        std::copy_n(picked_.get() + at * job_.cols, job_.cols, values_.get() + r * job_.cols);
      });
}

/// Fills values_ with columns of the matrices that are turned, of which it keeps one whole.
Status PanelEncoder::read_turned(std::int64_t panel) {
  for (int r = 0; r < rows_of(panel); ++r) {
    std::int64_t row = panel * kRows + r;
    std::size_t index = 0;
    while (row >= job_.turned[index].cols) row -= job_.turned[index++].cols;
    const std::int64_t columns = job_.turned[index].cols;
    if (block_.empty() || block_index_ != index) {
      QUERN_TRY(values, job_values(job_.turned[index]));
      block_.resize(values.size());
      for (std::int64_t k = 0; k < job_.cols; ++k) {
        for (std::int64_t c = 0; c < columns; ++c)
          block_[static_cast<std::size_t>(c * job_.cols + k)] =
              values[static_cast<std::size_t>(k * columns + c)];
      }
      block_index_ = index;
    }
    std::copy_n(block_.data() + row * job_.cols, job_.cols, values_.get() + r * job_.cols);
  }
  return {};
}

Status PanelEncoder::check_floats(std::int64_t panel) const {
  if (job_.to == Encoding::kF32) return {};
  const float limit = job_.to == Encoding::kF16 ? kHalfOverflow : INFINITY;
  for (int r = 0; r < rows_of(panel); ++r) {
    const float* row = values_.get() + r * job_.cols;
    if (all_below(row, job_.cols, limit)) continue;
    for (std::int64_t k = 0; k < job_.cols; ++k) {
      if (std::fabs(row[k]) < limit) continue;  // False for NaN.
      return Error(ErrorCode::kOutOfRange, "a weight cannot be stored in the chosen encoding")
          .of(job_.name)
          .want(job_.to == Encoding::kF16 ? "finite weights below 65520 (bf16 holds larger ones)"
                                          : "finite weights")
          .got(std::to_string(row[k]) + " in row " + std::to_string(panel * kRows + r) +
               ", column " + std::to_string(k));
    }
  }
  return {};
}

/// Spreads the foreign rows of a packed panel over `out`.
void PanelEncoder::write_rows(std::int64_t panel, const std::byte* packed, std::byte* out) {
  std::byte* rows[kRows] = {};
  for (int r = 0; r < rows_of(panel); ++r) rows[r] = out + static_cast<std::uint64_t>(r) * to_row_;
  to_.deinterleave_panel(packed, job_.cols, rows);
}

void PanelEncoder::copy_bits(std::int64_t panel, std::byte* out) {
  const bool interleaved = job_.source->layout == Layout::kPanel16;
  const bool panels_out = job_.layout == Layout::kPanel16;
  if (interleaved && panels_out && !job_.change.moves_rows()) {
    std::memcpy(out, source_panel(panel), from_panel_);
    return;
  }
  Rows rows;
  foreign_rows(panel, rows);
  if (panels_out) {
    to_.interleave_panel(rows, job_.cols, out);
    return;
  }
  for (int r = 0; r < rows_of(panel); ++r) {
    std::memcpy(out + static_cast<std::uint64_t>(r) * to_row_, rows[r], to_row_);
  }
}

void PanelEncoder::store_floats(std::int64_t panel, std::byte* out) {
  std::fill(values_.get() + rows_of(panel) * job_.cols, values_.get() + kRows * job_.cols, 0.0F);
  std::byte* packed = job_.layout == Layout::kPanel16 ? out : packed_.data();
  if (calibration_ != nullptr) {
    outputs_ = calibration_->quantize_panel(job_.to, values_.get(), job_.cols, packed);
  } else {
    to_.quantize_panel(values_.get(), job_.cols, {}, packed);
  }
  if (job_.layout == Layout::kPlain) write_rows(panel, packed, out);
}

void PanelEncoder::change_value(float& value) const {
  value += job_.change.add;
  if (job_.change.negate_exp) value = -static_cast<float>(base::exp(static_cast<double>(value)));
}

/// \pre the rows are canonical but for their order.
void PanelEncoder::apply_adapters(std::int64_t panel) {
  // The parts of a vector lie one behind the other.
  const std::int64_t first = job_.expert * job_.rows;
  for (int r = 0; r < rows_of(panel); ++r) {
    const std::int64_t row = job_.change.our_row(panel * kRows + r);
    job_.baked->apply(
        first + row, std::span(values_.get() + r * job_.cols, static_cast<std::size_t>(job_.cols)));
  }
}

Status PanelEncoder::encode(std::int64_t panel, std::byte* out) {
  if (job_.copies_bits()) {
    copy_bits(panel, out);
    return {};
  }
  if (job_.turned.empty())
    read_floats(panel);
  else
    QUERN_CHECK(read_turned(panel));
  if (job_.change.changes_values()) {
    const std::int64_t count = rows_of(panel) * job_.cols;
    for (std::int64_t i = 0; i < count; ++i) change_value(values_[static_cast<std::size_t>(i)]);
  }
  if (job_.baked != nullptr) apply_adapters(panel);
  QUERN_CHECK(check_floats(panel));
  store_floats(panel, out);
  return {};
}

std::span<const float> PanelEncoder::values() const noexcept {
  if (job_.copies_bits()) return {};
  return {values_.get(), static_cast<std::size_t>(kRows * job_.cols)};
}

QuantizationError PanelEncoder::error(const std::byte* out) {
  QuantizationError sum{0, 0, outputs_};
  if (job_.copies_bits()) return sum;
  stored_.resize(static_cast<std::size_t>(kRows * job_.cols));
  const std::byte* packed = job_.layout == Layout::kPanel16 ? out : packed_.data();
  to_.dequantize_panel(packed, job_.cols, stored_.data());
  // A panel has 16 rows, so four sums at a time: one alone would wait for itself.
  double square[4] = {}, error[4] = {};
  for (std::size_t i = 0; i < stored_.size(); i += 4) {
    for (std::size_t l = 0; l < 4; ++l) {
      const auto was = static_cast<double>(values_[i + l]);
      const double change = was - static_cast<double>(stored_[i + l]);
      square[l] += was * was;
      error[l] += change * change;
    }
  }
  sum.square = (square[0] + square[1]) + (square[2] + square[3]);
  sum.error = (error[0] + error[1]) + (error[2] + error[3]);
  return sum;
}

}  // namespace quern::convert
