/// \file
/// The tensors of BART's family.
#pragma once

#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Embeddings, positions and norms as the configuration's flags say, both stacks, the output.
const std::vector<TensorRule>& bart_tensors();

}  // namespace quern::models
