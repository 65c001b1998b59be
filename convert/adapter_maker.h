/// \file
/// From an adapter's tensors to those of the container that the engine takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/adapter_source.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// A float32 tensor of the container to be. A vector has one row.
struct AdapterTensor {
  std::string name;
  std::int64_t rows, cols;
  bool is_matrix;
  std::vector<float> values;  ///< Row-major.
  std::int64_t count = 1;     ///< Matrices, one behind the other.
};

/// Everything that the adapter changes, checked against the model's tensors and in their order.
/// Errors: kMismatch naming the tensor and both shapes, or a tensor that the model lacks;
/// kUnsupported by name for what does not go together.
Result<std::vector<AdapterTensor>> make_adapter_tensors(const AdapterSource& source,
                                                        const Model& base);

}  // namespace quern::convert
