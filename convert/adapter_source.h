/// \file
/// An adapter file of any readable kind: PEFT directories, GGUF adapters, files of vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// What is done with a matrix: a low-rank pair is added to it, or to its rows where they are looked
/// up; its input or output is scaled.
enum class MatrixChange : std::uint8_t { kPair, kLookup, kOutputScale, kInputScale };

/// What a pair's products are multiplied by: alpha / rank, or alpha / √rank (Kalajdzievski 2023,
/// "rsLoRA", arXiv:2312.03732).
struct PairScale {
  double alpha = 1;
  bool by_root = false;
  float of(std::uint64_t rank) const noexcept;
};

/// What the file has for one matrix beside the tensor that stands under its name.
struct MatrixUpdate {
  MatrixChange change = MatrixChange::kPair;
  std::string module;  ///< What the file calls the matrix, for errors.
  SourceTensor a =
      {};  ///< Of a pair, `[rank, cols]`; of a lookup `[rank, rows]` or `[rows, rank]`.
  std::optional<SourceTensor> magnitude = {};  ///< Of a pair with row norms (DoRA), `[rows]`.
  PairScale scale = {};                        ///< Of a pair.
};

/// Rows of a looked-up table that are replaced (PEFT's trainable tokens).
struct TokenRows {
  std::string module;  ///< What the file calls the table.
  SourceTensor rows;   ///< `[ids, cols]`.
  std::vector<std::int64_t> ids;
};

/// An adapter under the names of a base model's checkpoint: B `[rows, rank]` or factors `[rows, 1]`
/// stand where the matrix would (factors of its input are `[1, cols]`), vectors where the base's
/// do. So the base's rules find, slice and permute their rows. Pairs of experts: expert_pairs.h.
class AdapterSource : public SourceModel {
 public:
  /// \param name as find_matrices found it. \return null for a vector.
  const MatrixUpdate* update_of(const std::string& name) const noexcept;
  /// Whether its writer took the last dimension of a parameter of experts for its output, even
  /// where it is the input (PEFT before 0.19).
  virtual bool turns_parameters() const noexcept { return false; }
  /// The tensors that it brings whole, in the place of the base's; nullptr: none.
  virtual const SourceModel* whole() const noexcept { return nullptr; }
  /// Weights of the base itself that were saved along with their pairs; nullptr: none.
  virtual const SourceModel* copies() const noexcept { return nullptr; }
  const std::vector<TokenRows>& token_rows() const noexcept { return token_rows_; }

 protected:
  std::vector<TokenRows> token_rows_;
  std::vector<std::pair<std::string, MatrixUpdate>> updates_;  ///< By name of the matrix.
};

/// Opens the adapter at `path` (a PEFT directory or its adapter_model.safetensors, a GGUF adapter,
/// a
/// `.safetensors` file of vectors) as a change to a model of `base`'s configuration. Errors: those
/// of the readers; kUnsupported naming a kind or setting of PEFT that quern does not implement;
/// kMissing (half a pair, a setting).
Result<std::unique_ptr<AdapterSource>> open_adapter_source(const std::string& path,
                                                           const Model& base);

}  // namespace quern::convert
