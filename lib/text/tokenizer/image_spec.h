/// \file
/// The way back: an image as the pipeline that it was compiled from, for writing other formats.
#pragma once

#include <cstddef>
#include <span>

#include "formats/tokenizer_spec.h"
#include "quern/result.h"
#include "text/tokenizer/image.h"

namespace quern::text {

/// Work in proportion to the vocabulary. What the spec says of GGUF is complete: texts, types,
/// scores, merges in their order and flags. Errors: those of ImageView::open.
Result<formats::TokenizerSpec> spec_of_image(std::span<const std::byte> image);
formats::TokenizerSpec spec_of_image(const ImageView& image);

}  // namespace quern::text
