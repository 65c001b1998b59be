/// \file
/// One tensor on its way: 16 rows of the source become 16 rows of the output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "convert/aligned_bytes.h"
#include "convert/matrix_calibration.h"
#include "convert/source_model.h"
#include "convert/transforms.h"
#include "quant/registry.h"
#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::convert {

struct BakedTensor;  // convert/baking.h

/// What is to be done with one matrix: a tensor, an expert of it, or the part of a fused one. A
/// vector `[n]` is handled as `[n, 1]`. View of the source.
struct MatrixJob {
  std::string name;         ///< Of the tensor, in the output.
  std::string weight;       ///< Canonical name of the tensor.
  std::int64_t expert = 0;  ///< Which of the weight's matrices.
  const SourceTensor* source = nullptr;
  std::span<const std::byte> data;    ///< The source's matrix, `source_rows` rows.
  std::span<const std::byte> scales;  ///< As SourceTensor's.
  std::int64_t source_rows = 0;
  std::int64_t rows = 0, cols = 0;  ///< Of the output.
  Encoding from = Encoding::kF32, to = Encoding::kF32;
  Layout layout = Layout::kPanel16;  ///< kPlain: rows in the foreign form (GGUF, vectors).
  TensorChange change;
  const BakedTensor* baked = nullptr;  ///< What adapters change, once the values are canonical.
  /// Not empty: the rows are the columns of these matrices, one after the other, whose values are
  /// float32 in rows (kF32, kPlain); `data` and `change` are not read.
  std::vector<MatrixJob> turned;
  std::int64_t at_row = 0;  ///< Where the matrix begins in a tensor of several of these.

  std::int64_t panels() const noexcept {
    return (rows + quant::kPanelRows - 1) / quant::kPanelRows;
  }
  /// Bytes of output panel `panel`; all but the last have the same.
  std::uint64_t panel_bytes(std::int64_t panel) const noexcept;
  std::uint64_t bytes() const noexcept;
  /// Of the source; the first of a tensor's parts stands for all.
  std::uint64_t source_bytes() const noexcept {
    return change.first_row > 0 ? 0 : data.size() + scales.size();
  }
  /// Whether the weights' bits are copied, not computed.
  bool keeps_bits() const noexcept {
    return from == to && !change.changes_values() && baked == nullptr;
  }
  bool copies_bits() const noexcept { return keeps_bits() && turned.empty(); }
};

/// One tensor of the output: its matrices, one after the other.
struct TensorJob {
  std::string name;
  std::vector<std::uint64_t> dims;  ///< Outermost first.
  Encoding to = Encoding::kF32;
  Layout layout = Layout::kPanel16;
  std::vector<MatrixJob> matrices;
  bool is_vector = false;
  bool quantizable = false;  ///< Whether its encoding may be chosen.

  std::uint64_t bytes() const noexcept;
  bool keeps_bits() const noexcept;
};

/// Squares of a matrix and of what quantizing changed in it.
struct QuantizationError {
  double square = 0, error = 0;  ///< ‖W‖², ‖W − V‖²
  OutputSquares outputs;         ///< 0 where nothing was observed.

  /// Error over square: of the outputs where they were observed, else of the weights.
  double relative_square() const noexcept;
  QuantizationError& operator+=(const QuantizationError& other) noexcept;
};

/// Encodes panels of one job. Holds a few panels of scratch. Thread rule: one owner; one per
/// thread.
class PanelEncoder {
 public:
  /// \param calibration null where nothing was observed.
  /// \pre the job was checked by the plan: both encodings have ops, sizes agree and do not
  /// overflow.
  explicit PanelEncoder(const MatrixJob& job, const MatrixCalibration* calibration = nullptr);

  /// Writes output panel `panel` to `out`, `job.panel_bytes(panel)` bytes, 64-byte aligned.
  /// Errors: kOutOfRange naming the tensor where a value cannot be stored (NaN, infinity, too
  /// large).
  Status encode(std::int64_t panel, std::byte* out);

  /// The values of the panel that was encoded last, 16 rows; empty where bits were kept.
  std::span<const float> values() const noexcept;
  /// The error of the panel that was encoded last, which lies at `out`; zeros where bits were kept.
  QuantizationError error(const std::byte* out);

 private:
  using Rows = const std::byte * [quant::kPanelRows];
  int rows_of(std::int64_t panel) const noexcept;
  const std::byte* source_panel(std::int64_t panel) const noexcept;
  template <class Open, class Take>
  void visit_source_panels(std::int64_t panel, const Open& open, const Take& take);
  void foreign_rows(std::int64_t panel, Rows& rows);
  void gather_transposed(std::int64_t panel, Rows& rows);
  void gather_streams(std::int64_t panel, Rows& rows);
  void gather_interleaved(std::int64_t panel, Rows& rows);
  void read_floats(std::int64_t panel);
  Status read_turned(std::int64_t panel);
  void change_value(float& value) const;
  void apply_adapters(std::int64_t panel);
  Status check_floats(std::int64_t panel) const;
  void copy_bits(std::int64_t panel, std::byte* out);
  void store_floats(std::int64_t panel, std::byte* out);
  void write_rows(std::int64_t panel, const std::byte* packed, std::byte* out);

  const MatrixJob& job_;
  const MatrixCalibration* calibration_;
  OutputSquares outputs_;  ///< Of the last panel.
  const quant::EncodingOps& from_;
  const quant::EncodingOps& to_;
  std::uint64_t from_row_, to_row_;           ///< Bytes of a foreign row; 0 where there is none.
  std::uint64_t from_panel_;                  ///< Bytes of a panel of the source's encoding.
  AlignedBytes packed_;                       ///< One panel in either encoding.
  AlignedBytes row_bytes_;                    ///< 16 source rows in the foreign form.
  AlignedBytes spare_;                        ///< 16 more, where rows come from several panels.
  std::unique_ptr<float[]> values_, picked_;  ///< 16 rows.
  std::vector<float> stored_;                 ///< 16 rows as they were encoded.
  std::vector<float> block_;                  ///< The turned matrix that was read last, turned.
  std::size_t block_index_ = 0;               ///< Which one that is, where `block_` is not empty.
};

/// All values, row-major. \pre job.to is kF32, its layout kPlain. Errors: PanelEncoder::encode's.
Result<std::vector<float>> job_values(const MatrixJob& job);

}  // namespace quern::convert
