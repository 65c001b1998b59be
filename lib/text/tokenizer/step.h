/// \file
/// A pipeline step that is ready to run: the image's record and, where it has one, its pattern.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer/image.h"
#include "text/tokenizer/regex.h"

namespace quern::text {

struct Step {
  StepView view;
  std::optional<Regex> regex;
};

/// Text on its way through the stages: one buffer, and the pieces of it that are still text.
struct PieceText {
  std::string text;
  std::vector<ByteRange> pieces;
  /// The first byte of `text` comes from the first byte of what the caller gave (Metaspace
  /// "first").
  bool at_origin = false;

  std::string_view piece(const ByteRange& range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
};

using NormalizeFn = Status (*)(const Step& step, std::string& text, bool& at_origin);
using PreTokenizeFn = Status (*)(const Step& step, PieceText& text);

/// The functions of the stages' tables; nullptr for kinds of another stage.
NormalizeFn find_normalizer(formats::StepKind kind) noexcept;
PreTokenizeFn find_pre_tokenizer(formats::StepKind kind) noexcept;

/// Compiles the step's pattern and checks its numbers.
/// Errors: kMalformed; kUnsupported where it needs a library that quern was built without.
Result<Step> make_step(const StepView& view, std::string_view file);
Result<std::vector<Step>> make_stage(const ImageView& image, image::Section section,
                                     std::string_view file);

/// Runs all normalizers.
Status run_normalizers(const std::vector<Step>& steps, std::string& text, bool& at_origin);

/// Replaces matches of a literal (every occurrence; an empty one matches between all characters).
std::string replace_literal(std::string_view text, std::string_view what, std::string_view with);
/// Replaces matches of the step's pattern.
Result<std::string> replace_regex(const Regex& regex, std::string_view text, std::string_view with);
/// Finds a literal as a regular expression would.
void find_literal(std::string_view text, std::string_view what, std::vector<ByteRange>& out);

/// GPT-2's alphabet: a visible character for every byte, and back (-1: none).
/// Source: Radford et al. 2019, encoder.py of the published code.
char32_t visible_of_byte(unsigned char byte) noexcept;
int byte_of_visible(char32_t c) noexcept;
std::string to_visible(std::string_view bytes);

/// SentencePiece's character map as Hugging Face `tokenizers` applies it, by grapheme clusters.
/// \return false where nothing is replaced.
bool apply_charsmap(std::string_view charsmap, std::string_view text, std::string& out);
/// The same as SentencePiece applies it: everywhere the longest key.
bool apply_charsmap_longest(std::string_view charsmap, std::string_view text, std::string& out);
/// \return whether the block has the form that `apply_charsmap` reads.
bool is_charsmap(std::string_view charsmap) noexcept;

/// The regular expression of GPT-2's ByteLevel.
inline constexpr std::string_view kByteLevelPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

}  // namespace quern::text
