/// \file
/// sentence-transformers' modules.json: which layers and which poolings make an embedding.
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors_reader.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::convert {

/// The weights of one module, which become those of step `step` (models/sentence_modules.h).
struct ModuleWeights {
  std::size_t step;
  formats::SafetensorsFile file;
};

/// Reads `base`modules.json and the configurations that it names into `embedding.…`: poolings,
/// layers before and behind them, whether the result has length one. Modules may stand in any order
/// that makes sense to sentence-transformers; what a later pooling overwrites is left out. Does
/// nothing where there is no modules.json.
/// Errors: kUnsupported, by name, for modules, poolings and activations that quern lacks;
/// kMismatch for widths that do not fit one another.
Result<std::vector<ModuleWeights>> read_sentence_modules(const std::string& base, Config& config);

}  // namespace quern::convert
