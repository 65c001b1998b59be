/// \file
/// The pipeline of each `tokenizer.ggml.model`. Source: TOKENIZERS.md of the goldens.
#pragma once

#include <string>

#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// What the metadata outside `tokenizer.ggml` and the vocabulary's rows say.
struct GgufHints {
  std::string model_name, architecture;
  std::string charsmap;
  bool lowercase = true, strip_accents = true;  ///< Of BERT's vocabularies.
};

/// Completes a spec that holds rows, scores, merges, ids and flags. Errors: kUnsupported.
Status set_gguf_pipeline(formats::TokenizerSpec& spec, const GgufHints& hints);

}  // namespace quern::convert
