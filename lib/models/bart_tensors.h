/// \file
/// The tensors of BART's family.
#pragma once

#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Embeddings, positions and norms as the configuration's flags say, both stacks, the output.
const std::vector<TensorRule>& bart_tensors();
/// The same with a classifier's head in the place of the output.
const std::vector<TensorRule>& bart_classifier_tensors();

}  // namespace quern::models
