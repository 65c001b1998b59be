/// \file
/// Which encoding each matrix gets.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::convert {

enum class OutputFormat : std::uint8_t { kQuern, kGguf };

/// \return kGguf for a name that ends in ".gguf", whatever its case.
OutputFormat output_format(std::string_view path) noexcept;

/// The choice of the command line, read.
struct EncodingPolicy {
  bool keep = true;
  Encoding target = Encoding::kF32;  ///< Where not `keep`.
  /// What was chosen for single tensors, by canonical name; goes before the other two.
  std::map<std::string, Encoding, std::less<>> chosen = {};
};

/// Reads "keep", an encoding's name or a preset. Errors: kUnsupported for a name that is none
/// (listing those that are), an encoding that GGUF lacks.
Result<EncodingPolicy> parse_encoding(std::string_view name, OutputFormat output);

/// Whether it is a preset by bits (`q8` … `q3`), not an encoding.
bool is_preset(std::string_view name) noexcept;

/// Whether it rounds numbers to codes; floats are not.
bool is_quantized(Encoding encoding) noexcept;

struct EncodingChoice {
  Encoding encoding = Encoding::kF32;
  std::string note;  ///< Why it is not the one that was asked for; empty otherwise.
};

/// Chooses for a matrix with rows of `cols` elements. GGUF holds whole blocks only, so rows that do
/// not divide get the next larger encoding that fits, with a note; `.quern` pads.
/// Errors: kUnsupported where the source's own encoding cannot be in the output, or where the
/// target can only be read.
Result<EncodingChoice> choose_encoding(const EncodingPolicy& policy, Encoding source,
                                       std::int64_t cols, OutputFormat output);

/// GGUF's `general.file_type` of a file whose matrices are mostly in `encoding`.
std::uint32_t gguf_file_type(Encoding encoding) noexcept;

}  // namespace quern::convert
