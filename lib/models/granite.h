/// \file
/// What the Granite family shares: its multipliers.
#pragma once

#include <vector>

#include "models/blocks.h"

namespace quern::models {

/// The four multipliers and the flags of biases, in both spellings.
std::vector<ConfigKey> granite_keys();
/// The multipliers into a layout.
Status read_granite_scales(const Config& config, DecoderLayout& layout);

}  // namespace quern::models
