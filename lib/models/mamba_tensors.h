/// \file
/// The tensors of Mamba.
#pragma once

#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Under Hugging Face's and llama.cpp's names, both of which fuse projections.
const std::vector<TensorRule>& mamba_tensors();

}  // namespace quern::models
