#include "convert/error_feedback.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "convert/linear_algebra.h"
#include "quant/fit.h"
#include "quant/native_grid.h"
#include "quant/panel.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kRows = quant::kPanelRows;
constexpr std::int64_t kGroup = quant::kSubGroup;
/// Columns whose errors, or changes, reach the rest of the row together.
constexpr std::int64_t kBatch = BlockedMatrix::kBlock;
constexpr int kTrials = 8;  ///< Sub-scales tried of a group.
constexpr int kDescents = 2;
/// Added to the diagonal, whose mean is 1: what the text did not show may still happen.
constexpr float kDamping = 0.01F;

/// Makes `h` the symmetric matrix of moments whose columns are padded and rotated.
void rotate_moments(const MomentMatrix& moments, BlockedMatrix& matrix) {
  const std::int64_t n = matrix.n(), cols = moments.cols;
  float* h = matrix.rows();
  for (std::int64_t i = 0; i < cols; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      h[i * n + j] = h[j * n + i] = moments.values[static_cast<std::size_t>(i * cols + j)];
    }
  }
  const auto transpose = [&] {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < i; ++j) std::swap(h[i * n + j], h[j * n + i]);
    }
  };
  for (std::int64_t i = 0; i < n; ++i) quant::hadamard64(h + i * n, n);
  transpose();
  for (std::int64_t i = 0; i < n; ++i) quant::hadamard64(h + i * n, n);
  // Both rotations round: the halves are made equal again.
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) h[i * n + j] = h[j * n + i];
  }
}

/// The multiples of a grid as floats, for loops over many.
struct Multiples {
  float low, step, inverse_step, last;

  explicit Multiples(const quant::NativeGrid& grid)
      : low(static_cast<float>(grid.low)),
        step(static_cast<float>(grid.step)),
        inverse_step(1.0F / step),
        last(static_cast<float>((grid.high - grid.low) / grid.step)) {}
  float nearest(float x) const noexcept {
    return quant::round_clamped((x - low) * inverse_step, 0.0F, last) * step + low;
  }
};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Turns a row into units of about its largest magnitude, a power of two, so that squares neither
/// overflow nor vanish. \return the unit; 0 for a row without weight, which becomes zeros.
float normalize(float* row, std::int64_t n) {
  float largest = 0;
  for (std::int64_t k = 0; k < n; ++k) largest = std::max(largest, std::fabs(row[k]));
  if (!(largest > quant::kNegligible)) {
    std::fill(row, row + n, 0.0F);
    return 0.0F;
  }
  // 2¹²⁶ is the largest power whose inverse is a normal number.
  const float unit = std::ldexp(1.0F, std::min(std::ilogb(largest), 126));
  const float inverse = 1.0F / unit;
  for (std::int64_t k = 0; k < n; ++k) row[k] *= inverse;
  return unit;
}

/// Σ a·b over [begin, end).
double product(const std::vector<float>& a, const std::vector<float>& b, std::int64_t begin,
               std::int64_t end) {
  double sum = 0;
  for (std::int64_t k = begin; k < end; ++k) {
    sum += static_cast<double>(a[at(k)]) * static_cast<double>(b[at(k)]);
  }
  return sum;
}

/// normalize() of 16 rows. \return their units.
std::array<float, kRows> normalize_rows(std::vector<float>& rows) {
  const auto n = static_cast<std::int64_t>(rows.size()) / kRows;
  std::array<float, kRows> units;
  for (std::int64_t r = 0; r < kRows; ++r) units[at(r)] = normalize(rows.data() + r * n, n);
  return units;
}

}  // namespace

/// 16 rotated rows on their way. Used once.
class ErrorFeedback::Panel {
 public:
  Panel(const ErrorFeedback& feedback, const quant::NativeGrid& grid, std::vector<float> rows)
      : f_(feedback),
        n_(feedback.n_),
        grid_(grid),
        multiples_(grid),
        units_(normalize_rows(rows)),
        rows_(std::move(rows)),
        multiple_(rows_.size()),
        value_(rows_.size()),
        sub_(at(kRows * n_ / kGroup), 1),
        moved_rows_(feedback.times_moments(rows_)) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      scale_[r] = quant::search_row_scale(grid, rows_.data() + r * n_, f_.block_cost_.data(), n_);
    }
  }

  OutputSquares run() {
    feed_back();
    moved_values_ = f_.times_moments(value_);
    for (int i = 0; i < kDescents; ++i) {
      refine_scales();
      descend();
    }
    refine_scales();
    return squares();
  }

  void store(std::byte* panel, std::int64_t cols) {
    quant::clear_panel(grid_.id, panel, cols);
    std::vector<std::int8_t> multiples(at(n_));
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t k = 0; k < n_; ++k) {
        multiples[at(k)] = static_cast<std::int8_t>(multiple_[at(r * n_ + k)]);
      }
      quant::store_native_row(grid_, {multiples, subs(r), scale_[r] * units_[at(r)]}, panel, cols,
                              static_cast<int>(r));
    }
  }

 private:
  std::span<std::uint8_t> subs(std::int64_t row) {
    return std::span(sub_).subspan(at(row * (n_ / kGroup)), at(n_ / kGroup));
  }

  /// A group under several sub-scales, each with its own error passed on from element to element.
  struct Trials {
    int sub[kTrials];
    float multiple[kGroup][kTrials], error[kGroup][kTrials];
    int best;
  };

  /// What becomes of the group at column `k` with the elements `x[16]`.
  Trials try_group(std::int64_t k, const float* x, float scale) const {
    Trials t;
    float y[kGroup][kTrials], cost[kTrials] = {}, step[kTrials], inverse[kTrials];
    const int center = quant::best_sub(grid_, x, f_.cost_.data() + k, scale);
    for (int l = 0; l < kTrials; ++l) {
      t.sub[l] = std::clamp(center - kTrials / 2 + 1 + l, grid_.smallest_sub, grid_.largest_sub);
      step[l] = scale * static_cast<float>(t.sub[l]);
      inverse[l] = quant::safe_inverse(step[l]);
      for (int i = 0; i < kGroup; ++i) y[i][l] = x[i];
    }
    for (int i = 0; i < kGroup; ++i) {
      const float* share = f_.share_.cells(k + i, k / kGroup);
      for (int l = 0; l < kTrials; ++l) {
        t.multiple[i][l] = multiples_.nearest(y[i][l] * inverse[l]);
        t.error[i][l] = y[i][l] - t.multiple[i][l] * step[l];
        cost[l] += t.error[i][l] * t.error[i][l] * f_.cost_[at(k + i)];
      }
      for (int j = i + 1; j < kGroup; ++j) {
        for (int l = 0; l < kTrials; ++l) y[j][l] -= t.error[i][l] * share[j];
      }
    }
    t.best = static_cast<int>(std::min_element(cost, cost + kTrials) - cost);
    return t;
  }

  /// Stores the best of the trials of row `r`; `errors[16]`.
  void take_best(const Trials& t, std::int64_t r, std::int64_t k, float* errors) {
    subs(r)[at(k / kGroup)] = static_cast<std::uint8_t>(t.sub[t.best]);
    for (int i = 0; i < kGroup; ++i) {
      multiple_[at(r * n_ + k + i)] = t.multiple[i][t.best];
      value_[at(r * n_ + k + i)] = t.multiple[i][t.best] * static_cast<float>(t.sub[t.best]);
      errors[i] = t.error[i][t.best];
    }
  }

  /// From the first column to the last: each group's error goes to the columns after it.
  void feed_back() {
    std::vector<float> x = rows_, errors(at(kRows * kBatch));
    for (std::int64_t first = 0; first < n_; first += kBatch) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        feed_back_block(r, first, x.data() + r * n_, errors.data() + r * kBatch);
      }
      for (float& error : errors) error = -error;
      f_.share_.add_product(errors.data(), kBatch, first / kBatch, (first + kBatch) / kGroup,
                            x.data());
    }
  }

  /// The block at column `first` of row `r`, as the errors before it left it; `errors[64]`.
  void feed_back_block(std::int64_t r, std::int64_t first, float* row, float* errors) {
    for (std::int64_t k = first; k < first + kBatch; k += kGroup, errors += kGroup) {
      take_best(try_group(k, row + k, scale_[r]), r, k, errors);
      for (std::int64_t i = 0; i < kGroup; ++i) {
        for (std::int64_t to = k + kGroup; to < first + kBatch; to += kGroup) {
          const float* share = f_.share_.cells(k + i, to / kGroup);
          for (std::int64_t j = 0; j < kGroup; ++j) row[to + j] -= errors[i] * share[j];
        }
      }
    }
  }

  /// The scales with the least error of the outputs for the numbers as they are.
  void refine_scales() {
    for (std::int64_t r = 0; r < kRows; ++r) {
      const double wanted = dot(value_, moved_rows_, r), had = dot(value_, moved_values_, r);
      if (wanted > 0 && had > 0) scale_[r] = static_cast<float>(wanted / had);
    }
  }

  /// Gives each number in turn the value that is best while the others stay.
  void descend() {
    std::vector<float> changes(at(kRows * kBatch));
    for (std::int64_t first = 0; first < n_; first += kBatch) {
      bool changed = false;
      for (std::int64_t r = 0; r < kRows; ++r) {
        if (descend_block(r, first, changes.data() + r * kBatch)) changed = true;
      }
      if (!changed) continue;
      f_.h_.add_product(changes.data(), kBatch, first / kBatch, 0, moved_values_.data());
    }
  }

  /// The block at column `first` of row `r`; `changes[64]` of values, which the moved values do not
  /// know of yet. \return whether there are any.
  bool descend_block(std::int64_t r, std::int64_t first, float* changes) {
    float moved[kBatch];
    std::copy_n(moved_values_.data() + r * n_ + first, kBatch, moved);
    std::fill(changes, changes + kBatch, 0.0F);
    bool changed = false;
    for (std::int64_t k = first; k < first + kBatch; ++k) {
      const auto sub = static_cast<float>(subs(r)[at(k / kGroup)]);
      if (!(scale_[r] * sub > 0)) continue;
      // Of the error in terms of this element's multiple: its slope over its curvature.
      const float slope = moved_rows_[at(r * n_ + k)] / scale_[r] - moved[k - first];
      float& multiple = multiple_[at(r * n_ + k)];
      const float better = multiples_.nearest(multiple + slope / (f_.h_.at(k, k) * sub));
      if (better == multiple) continue;
      const float change = (better - multiple) * sub;
      for (std::int64_t to = 0; to < kBatch; to += kGroup) {
        const float* h = f_.h_.cells(k, (first + to) / kGroup);
        for (std::int64_t j = 0; j < kGroup; ++j) moved[to + j] += change * h[j];
      }
      changes[k - first] = change;
      changed = true;
      multiple = better;
      value_[at(r * n_ + k)] = better * sub;
    }
    return changed;
  }

  /// |w|² and |w − s·v|² in the measure of the moments.
  OutputSquares squares() const {
    OutputSquares sum;
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto scale = static_cast<double>(scale_[r]);
      const double unit = static_cast<double>(units_[at(r)]) * static_cast<double>(units_[at(r)]);
      const double all = dot(rows_, moved_rows_, r);
      sum.square += unit * all;
      sum.error += unit * std::max(0.0, all - 2 * scale * dot(value_, moved_rows_, r) +
                                            scale * scale * dot(value_, moved_values_, r));
    }
    return sum;
  }

  double dot(const std::vector<float>& a, const std::vector<float>& b, std::int64_t row) const {
    return product(a, b, row * n_, (row + 1) * n_);
  }

  const ErrorFeedback& f_;
  const std::int64_t n_;
  const quant::NativeGrid& grid_;
  const Multiples multiples_;
  const std::array<float, kRows> units_;  ///< Of rows_ and scale_.
  const std::vector<float> rows_;
  std::vector<float> multiple_, value_;           ///< `[16, n]`; a value is multiple · sub.
  std::vector<std::uint8_t> sub_;                 ///< `[16, n / 16]`
  std::vector<float> moved_rows_, moved_values_;  ///< Times the moments.
  float scale_[kRows];
};

std::shared_ptr<const ErrorFeedback> ErrorFeedback::create(const MomentMatrix& moments) {
  if (moments.rows == 0) return nullptr;
  const std::int64_t n = quant::padded_to(moments.cols, kBatch);
  std::shared_ptr<ErrorFeedback> made(new ErrorFeedback(n));
  rotate_moments(moments, made->h_);
  float* h = made->h_.rows();
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) trace += static_cast<double>(h[i * (n + 1)]);
  const double mean = trace / static_cast<double>(n);
  if (!(mean > 0) || !std::isfinite(mean)) return nullptr;
  made->mean_ = mean;
  for (std::int64_t i = 0; i < moments.cols; ++i) {
    made->columns_.push_back(moments.values[at(i * (moments.cols + 1))]);
  }
  const auto unit = static_cast<float>(1.0 / mean);
  for (std::int64_t i = 0; i < n * n; ++i) h[i] *= unit;
  for (std::int64_t i = 0; i < n; ++i) h[i * (n + 1)] += kDamping;
  std::copy_n(h, n * n, made->share_.rows());
  made->h_.lay_out();
  if (!linear_algebra::cholesky_of_inverse(made->share_.rows(), n)) return nullptr;
  made->scale_shares();
  return made;
}

void ErrorFeedback::scale_shares() {
  cost_.resize(at(n_));
  block_cost_.resize(at(n_ / kBatch));
  for (std::int64_t i = 0; i < n_; ++i) {
    float* row = share_.rows() + i * n_;
    const float inverse = 1.0F / row[i];
    for (std::int64_t j = i; j < n_; ++j) row[j] *= inverse;
    cost_[at(i)] = inverse * inverse;
    block_cost_[at(i / kBatch)] += cost_[at(i)];
  }
  share_.lay_out();
}

std::vector<float> ErrorFeedback::rotated_rows(const float* rows16, std::int64_t cols) const {
  std::vector<float> rows(static_cast<std::size_t>(kRows * n_));
  for (std::int64_t r = 0; r < kRows; ++r) {
    std::copy_n(rows16 + r * cols, cols, rows.begin() + r * n_);
  }
  quant::hadamard64(rows.data(), kRows * n_);
  return rows;
}

std::vector<float> ErrorFeedback::times_moments(const std::vector<float>& rows) const {
  std::vector<float> product(rows.size());
  for (std::int64_t first = 0; first < n_; first += kBatch) {
    h_.add_product(rows.data() + first, n_, first / kBatch, 0, product.data());
  }
  return product;
}

OutputSquares ErrorFeedback::quantize_by_columns(Encoding to, const float* rows16,
                                                 std::int64_t cols, std::byte* panel) const {
  const quant::EncodingOps& ops = *quant::find_ops(to);
  ops.quantize_panel(rows16, cols, {columns_.data()}, panel);
  std::vector<float> change(at(kRows * cols));
  ops.dequantize_panel(panel, cols, change.data());
  for (std::size_t i = 0; i < change.size(); ++i) change[i] -= rows16[i];
  const std::vector<float> rows = rotated_rows(rows16, cols);
  const std::vector<float> changes = rotated_rows(change.data(), cols);
  return {mean_ * product(rows, times_moments(rows), 0, kRows * n_),
          mean_ * product(changes, times_moments(changes), 0, kRows * n_)};
}

OutputSquares ErrorFeedback::quantize_panel(Encoding to, const float* rows16, std::int64_t cols,
                                            std::byte* panel) const {
  const quant::NativeGrid* grid = quant::find_native_grid(to);
  if (grid == nullptr) return quantize_by_columns(to, rows16, cols, panel);
  std::vector<float> rows = rotated_rows(rows16, cols);
  const bool finite =
      std::all_of(rows.begin(), rows.end(), [](float v) { return std::isfinite(v); });
  if (!finite) {
    quant::find_ops(to)->quantize_panel(rows16, cols, {}, panel);
    return {};
  }
  Panel work(*this, *grid, std::move(rows));
  OutputSquares squares = work.run();
  squares.square *= mean_;
  squares.error *= mean_;
  work.store(panel, cols);
  return squares;
}

}  // namespace quern::convert
