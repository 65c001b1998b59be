#include "formats/byte_reader.h"

namespace quern::formats {

std::string quote(std::string_view untrusted, std::size_t max) {
  static constexpr char kHex[] = "0123456789abcdef";
  const bool cut = untrusted.size() > max;
  std::string text = "\"";
  for (const char c : untrusted.substr(0, max)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    }
  }
  text += cut ? "\"…" : "\"";
  return text;
}

Error ByteReader::error(ErrorCode code, std::string message, std::string_view field,
                        std::uint64_t at) const {
  return Error(code, std::move(message)).in_file(std::string(file_)).at(at).of(std::string(field));
}

Error ByteReader::short_read(std::uint64_t wanted, std::string_view field) const {
  return error(ErrorCode::kTruncated, "the bytes end before this field does", field, offset())
      .want(std::to_string(wanted) + " bytes")
      .got(std::to_string(remaining()));
}

Result<std::span<const std::byte>> ByteReader::take(std::uint64_t count, std::string_view field) {
  if (count > remaining()) return short_read(count, field);
  const auto length = static_cast<std::size_t>(count);  // Fits: not more than a span's length.
  const auto part = bytes_.subspan(position_, length);
  position_ += length;
  return part;
}

Result<std::string_view> ByteReader::text(std::uint64_t count, std::string_view field) {
  QUERN_TRY(part, take(count, field));
  return as_text(part);
}

Status ByteReader::skip(std::uint64_t count, std::string_view field) {
  QUERN_CHECK(take(count, field));
  return {};
}

Status ByteReader::expect_items(std::uint64_t count, std::uint64_t min_bytes,
                                std::string_view field) const {
  const auto least = checked_mul(count, min_bytes);
  if (least && *least <= remaining()) return {};
  return error(ErrorCode::kTruncated, "more items are announced than can follow", field, offset())
      .want("at most " + std::to_string(min_bytes == 0 ? 0 : remaining() / min_bytes))
      .got(std::to_string(count));
}

}  // namespace quern::formats
