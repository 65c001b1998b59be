/// \file
/// GGUF's tokenizer metadata as a pipeline, and the way back.
#pragma once

#include <string>

#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// Reads `tokenizer.ggml.*`: models gpt2, llama, bert, t5, gemma4.
/// Errors: kMissing (no model or tokens), kUnsupported (another model, an unknown `pre`; named),
/// kMismatch (lists of different lengths), kOutOfRange (an id that is no token), kLimit.
Result<formats::TokenizerSpec> read_gguf_tokenizer(const formats::GgufFile& file);

/// Writes the metadata. A spec that came from a GGUF gives the lists, ids and flags back exactly;
/// any other is given names that describe its pipeline.
/// \param architecture GGUF's, on which the meaning of some vocabularies depends.
/// Errors: kUnsupported where GGUF has no way to say it.
Status write_gguf_tokenizer(const formats::TokenizerSpec& spec, formats::GgufWriter& writer,
                            const std::string& architecture = "");

/// Finds `gguf_model` and `gguf_pre` for a spec that has none, by comparing its pipeline with what
/// each name stands for. \return whether there are such names.
bool name_gguf_pipeline(formats::TokenizerSpec& spec, const std::string& architecture = "");

}  // namespace quern::convert
