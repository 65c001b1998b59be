/// \file
/// An adapter file of any readable kind: PEFT directories, GGUF adapters, files of vectors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// The matrices of one low-rank pair as the file has them.
struct LowRankPair {
  SourceTensor a;      ///< `[rank, cols]`
  float factor = 1;    ///< B is multiplied by it.
  std::string module;  ///< What the file calls the matrix, for errors.
};

/// An adapter under the names of a base model's checkpoint: B `[rows, rank]` stands where the
/// matrix would, vectors where the base's do. So the base's rules find, slice and permute their
/// rows.
class AdapterSource : public SourceModel {
 public:
  /// \param name as find_matrices found it. \return null for a vector.
  const LowRankPair* pair_of(const std::string& name) const noexcept;

 protected:
  std::vector<std::pair<std::string, LowRankPair>> pairs_;  ///< By name of the matrix.
};

/// Opens the adapter at `path` (a PEFT directory or its adapter_model.safetensors, a GGUF adapter,
/// a
/// `.safetensors` file of vectors) as a change to a model of `base`'s configuration. Errors: those
/// of the readers; kUnsupported naming a kind or setting of PEFT that quern does not implement;
/// kMissing (half a pair, a setting).
Result<std::unique_ptr<AdapterSource>> open_adapter_source(const std::string& path,
                                                           const Model& base);

}  // namespace quern::convert
