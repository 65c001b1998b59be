/// \file
/// The one bounded little-endian reader. Nothing else in formats/ does arithmetic on positions of
/// untrusted bytes.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "quern/checked.h"
#include "quern/result.h"

namespace quern::formats {

/// \return the little-endian number at `from`, which must have sizeof(T) readable bytes.
template <class T>
requires std::is_arithmetic_v<T> T load_le(const std::byte* from)
noexcept {
  std::byte raw[sizeof(T)];
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    raw[i] = from[std::endian::native == std::endian::little ? i : sizeof(T) - 1 - i];
  }
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

/// Stores `value` little-endian at `to`, which must have sizeof(T) writable bytes.
template <class T>
requires std::is_arithmetic_v<T>
void store_le(std::byte* to, T value) noexcept {
  std::byte raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    to[i] = raw[std::endian::native == std::endian::little ? i : sizeof(T) - 1 - i];
  }
}

/// Appends `value` little-endian to a byte string.
template <class T>
void append_le(std::string& to, T value) {
  std::byte raw[sizeof(T)];
  store_le(raw, value);
  to.append(reinterpret_cast<const char*>(raw), sizeof(T));
}

/// \return the bytes as text, no copy.
inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// A quoted, escaped, shortened copy of untrusted bytes for an error's `found` or `field`: only
/// printable ASCII, at most `max` source bytes.
std::string quote(std::string_view untrusted, std::size_t max = 64);

/// A position in a span of untrusted bytes. Each read names its field; a read past the end is
/// kTruncated with file, absolute offset and field. Nothing is allocated except in errors.
/// Thread rule: one owner. The span and the file name must outlive it.
class ByteReader {
 public:
  /// \param base absolute offset of bytes[0] in the file, for errors.
  ByteReader(std::span<const std::byte> bytes, std::string_view file,
             std::uint64_t base = 0) noexcept
      : bytes_(bytes), file_(file), base_(base) {}

  /// Reads one little-endian number.
  template <class T>
  requires std::is_arithmetic_v<T> Result<T> get(std::string_view field) {
    if (remaining() < sizeof(T)) return short_read(sizeof(T), field);
    const T value = load_le<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }

  /// A view of the next `count` bytes.
  Result<std::span<const std::byte>> take(std::uint64_t count, std::string_view field);
  /// A view of the next `count` bytes as text (no encoding is checked).
  Result<std::string_view> text(std::uint64_t count, std::string_view field);
  Status skip(std::uint64_t count, std::string_view field);
  /// Refuses (kTruncated) a count of items that cannot fit in what remains, where each takes at
  /// least `min_bytes`. To be called before anything is allocated or looped over.
  Status expect_items(std::uint64_t count, std::uint64_t min_bytes, std::string_view field) const;

  std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }
  std::uint64_t offset() const noexcept { return base_ + position_; }  ///< Absolute.
  std::string_view file() const noexcept { return file_; }

  /// An error that carries the file, `at` (absolute) and the field.
  Error error(ErrorCode code, std::string message, std::string_view field, std::uint64_t at) const;

 private:
  Error short_read(std::uint64_t wanted, std::string_view field) const;

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::uint64_t base_;
  std::size_t position_ = 0;
};

}  // namespace quern::formats
