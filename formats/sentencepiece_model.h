/// \file
/// SentencePiece's model file: one protobuf message (ModelProto), read without any library.
/// Source: sentencepiece_model.proto of SentencePiece 0.2; the wire format of Protocol Buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::formats {

/// Longest text of one piece, in bytes.
inline constexpr std::size_t kMaxPieceBytes = 1024;

struct SentencePieceModel {
  enum class Kind : std::uint8_t { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    TokenType type = TokenType::kNormal;  ///< SentencePiece has GGUF's numbers.
  };

  std::vector<Piece> pieces;  ///< By SentencePiece's own ids.
  Kind kind = Kind::kUnigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::int32_t unk_id = 0;
  std::string charsmap;  ///< Empty where characters stay as they are.
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  /// Errors: kTruncated, kMalformed (with file and offset), kOutOfRange (a type, an unknown piece
  /// that is none), kLimit (pieces, their length), kMissing (no pieces).
  static Result<SentencePieceModel> parse(std::span<const std::byte> bytes, std::string_view file);
  /// The same for a regular file of at most 64 MiB.
  static Result<SentencePieceModel> open(const std::string& path);
};

/// \return the name of a kind as SentencePiece writes it.
const char* name_of(SentencePieceModel::Kind kind) noexcept;

}  // namespace quern::formats
