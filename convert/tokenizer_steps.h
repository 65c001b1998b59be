/// \file
/// What the makers of tokenizers share: one step of a pipeline, and SentencePiece's mark.
#pragma once

#include <string>
#include <utility>

#include "formats/tokenizer_spec.h"

namespace quern::convert {

inline constexpr const char* kMark =
    "\xE2\x96\x81";  ///< U+2581, a space in SentencePiece's pieces.

inline formats::TokenizerStep step(formats::StepKind kind, std::string text = "",
                                   std::string content = "") {
  formats::TokenizerStep out;
  out.kind = kind;
  out.text = std::move(text);
  out.content = std::move(content);
  return out;
}

}  // namespace quern::convert
