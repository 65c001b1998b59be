/// \file
/// The tokenizer of a Hugging Face directory that has a SentencePiece model and no tokenizer.json.
#pragma once

#include "convert/added_token_notes.h"
#include "formats/checkpoint_dir.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// Makes the pipeline of the class that tokenizer_config.json names (or, where it is silent, that
/// belongs to config.json's model_type), as transformers 5.23 makes it, and places added tokens.
/// \pre `directory.sentencepiece_model` is not empty.
/// Errors: kUnsupported (another class, named), kMismatch (the class wants another kind of model;
/// an added token has another id), kMissing, kOutOfRange; those of the readers.
Result<formats::TokenizerSpec> read_sentencepiece_tokenizer(const formats::CheckpointDir& directory,
                                                            const TokenizerNotes& notes);

}  // namespace quern::convert
