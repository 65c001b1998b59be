/// \file
/// How two texts become one input of an encoder.
#pragma once

#include "formats/checkpoint_dir.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::convert {

/// Reads the template for pairs of tokenizer.json's post-processor into `pair_template` (ids; −1
/// and −2 where the texts go) and `pair_types` (token types). Does nothing where it has none.
Status read_pair_template(const formats::CheckpointDir& directory, Config& config);

}  // namespace quern::convert
