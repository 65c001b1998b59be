/// \file
/// The configuration of BART's family: what its classes' code does whatever a configuration says,
/// and the keys that they share.
#pragma once

#include "models/architecture.h"
#include "models/encoder_decoder.h"

namespace quern::models {

/// kUnsupported for a class that is none of the family's. Thread rule: pure.
Result<Config> read_bart_config(const Config& source, SourceKind kind);
/// Where norms stand and positions come from, of a configuration that read_bart_config() made.
Result<EncoderDecoderLayout> read_bart_layout(const Config& config);

}  // namespace quern::models
