/// \file
/// What a Hugging Face directory says about its tokenizer in tokenizer.json or its SentencePiece
/// model, and beside them.
#pragma once

#include <string>

#include "formats/checkpoint_dir.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// Reads tokenizer.json, or else the SentencePiece model (or Marian's two files), and names the
/// special tokens from tokenizer_config.json, special_tokens_map.json and, where those are silent,
/// the ids of config.json. \pre `directory` has one of them. Errors: those of the readers.
Result<formats::TokenizerSpec> read_huggingface_tokenizer(const formats::CheckpointDir& directory);

/// The chat template of chat_template.jinja, or of tokenizer_config.json (the one named "default"
/// of several); empty where there is none. Errors: those of the readers.
Result<std::string> read_huggingface_template(const formats::CheckpointDir& directory);

}  // namespace quern::convert
