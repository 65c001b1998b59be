/// \file
/// What a Hugging Face directory says about how an embedding is made of a text's rows.
#pragma once

#include "formats/checkpoint_dir.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::convert {

/// Reads sentence-transformers' modules.json with the pooling configuration that it names,
/// sentence_bert_config.json and the default prompt of config_sentence_transformers.json into
/// `embedding.pooling`, `embedding.normalize`, `embedding.max_tokens` and `embedding.prompt`. Does
/// nothing where there is no modules.json. kUnsupported by name for modules and kinds of pooling
/// that quern lacks.
Status read_sentence_settings(const formats::CheckpointDir& directory, Config& config);

}  // namespace quern::convert
