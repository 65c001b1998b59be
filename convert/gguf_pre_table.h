/// \file
/// What `tokenizer.ggml.pre` stands for, byte-level BPE only. Source: TOKENIZERS.md of the goldens;
/// llama.cpp's published table for rows without a vocabulary there.
#pragma once

#include <string_view>
#include <vector>

#include "formats/tokenizer_spec.h"

namespace quern::convert {

struct GgufPre {
  const char* names;  ///< Separated by spaces; the first is written for a new file.
  bool is_nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;         ///< Where the file has no flag.
  bool user_normalized = false;  ///< User-defined tokens are cut from normalized text.
  const char* splits[6] = {};    ///< Regular expressions, or names of the table's notation.
};

/// \return the row, or nullptr. An empty name is "default".
const GgufPre* find_gguf_pre(std::string_view name) noexcept;
const std::vector<const GgufPre*>& gguf_pre_rows();

/// The steps that a row stands for.
std::vector<formats::TokenizerStep> pre_tokenizers_of(const GgufPre& row);

}  // namespace quern::convert
