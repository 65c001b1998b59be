// SentencePiece models written here field by field, whole and broken.
#include "formats/sentencepiece_model.h"

#include <doctest/doctest.h>

#include <bit>
#include <string>

#include "formats/byte_reader.h"

namespace quern::formats {
namespace {

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  return out + static_cast<char>(value);
}
std::string number(std::uint32_t field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}
std::string bytes(std::uint32_t field, const std::string& value) {
  return varint(field << 3 | 2) + varint(value.size()) + value;
}
std::string piece(const std::string& text, float score, std::uint64_t type) {
  std::string out = bytes(1, text) + varint(2 << 3 | 5);
  append_le(out, std::bit_cast<std::uint32_t>(score));
  return bytes(1, out + number(3, type));
}

const std::string kPieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("ab", -1.5f, 1);

Result<SentencePieceModel> parse(const std::string& text) {
  return SentencePieceModel::parse(as_bytes(text), "a.model");
}

ErrorCode code_of(const std::string& text) {
  const auto model = parse(text);
  REQUIRE(!model.ok());
  CHECK(model.error().describe().find("a.model") != std::string::npos);
  return model.error().code;
}

}  // namespace

TEST_CASE("a SentencePiece model gives pieces and settings") {
  std::string map(8, '\0');
  map[0] = 4;
  const auto model = parse(kPieces + bytes(2, number(3, 2) + number(35, 1) + number(40, 0)) +
                           bytes(3, bytes(2, map) + number(3, 0) + number(4, 0)) +
                           bytes(4, "a self test is skipped"));
  REQUIRE(model.ok());
  REQUIRE(model->pieces.size() == 3);
  CHECK(model->pieces[0].type == TokenType::kUnknown);
  CHECK(model->pieces[1].type == TokenType::kControl);
  CHECK(model->pieces[2].text == "ab");
  CHECK(model->pieces[2].score == -1.5f);
  CHECK(model->kind == SentencePieceModel::Kind::kBpe);
  CHECK(model->byte_fallback);
  CHECK(model->charsmap == map);
  CHECK(!model->add_dummy_prefix);
  CHECK(!model->remove_extra_whitespaces);
  CHECK(model->escape_whitespaces);
}

TEST_CASE("what the message leaves out has SentencePiece's own values") {
  const auto model = parse(bytes(1, bytes(1, "x")));
  REQUIRE(model.ok());
  CHECK(model->pieces[0].type == TokenType::kNormal);
  CHECK(model->pieces[0].score == 0.0f);
  CHECK(model->kind == SentencePieceModel::Kind::kUnigram);
  CHECK(!model->byte_fallback);
  CHECK(model->add_dummy_prefix);
  CHECK(model->remove_extra_whitespaces);
}

TEST_CASE("broken SentencePiece models are refused with what is wrong") {
  CHECK(code_of("") == ErrorCode::kMissing);
  CHECK(code_of(bytes(4, "x")) == ErrorCode::kMissing);
  CHECK(code_of(kPieces + varint(1 << 3 | 2) + varint(1ull << 60)) == ErrorCode::kTruncated);
  CHECK(code_of(kPieces.substr(0, kPieces.size() - 1)) == ErrorCode::kTruncated);
  CHECK(code_of(kPieces + varint(3)) == ErrorCode::kMalformed);           // Field 0.
  CHECK(code_of(kPieces + varint(5 << 3 | 3)) == ErrorCode::kMalformed);  // A group.
  CHECK(code_of(kPieces + std::string(10, '\xff') + "\x01") == ErrorCode::kMalformed);
  CHECK(code_of(kPieces + number(1, 7)) == ErrorCode::kMalformed);  // A piece that is a number.
  CHECK(code_of(kPieces + bytes(1, number(2, 1))) == ErrorCode::kMalformed);
  CHECK(code_of(piece("x", 0, 9)) == ErrorCode::kOutOfRange);
  CHECK(code_of(piece(std::string(kMaxPieceBytes + 1, 'x'), 0, 1)) == ErrorCode::kLimit);
  CHECK(code_of(piece("x", std::bit_cast<float>(0x7fc00000u), 1)) == ErrorCode::kMalformed);
  CHECK(code_of(kPieces + bytes(2, number(3, 7))) == ErrorCode::kOutOfRange);
  CHECK(code_of(kPieces + bytes(2, number(40, 3))) == ErrorCode::kOutOfRange);
  CHECK(code_of(kPieces + bytes(2, number(40, ~0ull))) == ErrorCode::kOutOfRange);
  CHECK(code_of(kPieces + bytes(3, bytes(2, "\x08"))) == ErrorCode::kMalformed);
  CHECK(code_of(kPieces + bytes(3, bytes(2, std::string("\x08\0\0\0\0\0\0\0", 8)))) ==
        ErrorCode::kMalformed);
}

TEST_CASE("an error in a piece has the offset in the file") {
  const auto model = parse(kPieces + piece("x", 0, 9));
  REQUIRE(!model.ok());
  // Tag and length of the piece, its text (3 bytes), its score (5), then the type.
  const std::string at = std::to_string(kPieces.size() + 2 + 3 + 5);
  CHECK_MESSAGE(model.error().describe().find(at) != std::string::npos, model.error().describe());
}

}  // namespace quern::formats
