/// \file
/// Marian's tokenizer: source.spm cuts the text into pieces, vocab.json numbers them.
#pragma once

#include "convert/added_token_notes.h"
#include "formats/checkpoint_dir.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// \return whether the directory has source.spm and vocab.json.
bool has_marian_tokenizer(const formats::CheckpointDir& directory);

/// Reads source.spm and vocab.json. Pieces that vocab.json lacks take part in the segmentation and
/// become the unknown token; pieces that source.spm lacks (the target's) are only decoded.
/// `>>lang<<` tokens of the vocabulary are cut out wherever they stand.
/// Errors: kUnsupported (separate vocabularies; a model that is no unigram model, has byte tokens
/// or pieces of the user's own), kMissing (no unknown token, no end), kMalformed, kLimit.
Result<formats::TokenizerSpec> read_marian_tokenizer(const formats::CheckpointDir& directory,
                                                     const TokenizerNotes& notes);

}  // namespace quern::convert
