/// \file
/// TokenizerSpec to image, the converter's half of the tokenizer.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::text {

/// Compiles a pipeline into the flat image that `Tokenizer::open` uses in place. Equal specs give
/// equal bytes. Errors: kLimit (a token above 64 KiB, more than 2^24 trie nodes, an image of 4
/// GiB), kMalformed and kUnsupported (a pattern that does not compile, an id that is no token).
Result<std::vector<std::byte>> build_tokenizer_image(const formats::TokenizerSpec& spec);

}  // namespace quern::text
