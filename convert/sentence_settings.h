/// \file
/// What a Hugging Face directory says about how an embedding is made of a text's rows.
#pragma once

#include <vector>

#include "convert/sentence_modules.h"
#include "formats/checkpoint_dir.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::convert {

/// Reads sentence-transformers' modules.json with the configurations that it names,
/// sentence_bert_config.json and the default prompt of config_sentence_transformers.json into
/// `embedding.…`. Does nothing where there is no modules.json. \return the weights of its modules.
/// kUnsupported by name for what quern lacks.
Result<std::vector<ModuleWeights>> read_sentence_settings(const formats::CheckpointDir& directory,
                                                          Config& config);

}  // namespace quern::convert
