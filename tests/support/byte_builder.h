/// \file
/// Builds small files field by field and remembers where each field lies, so that tests can put
/// every extreme into every field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/byte_reader.h"

namespace quern::testing {

/// One integer of a file.
struct Field {
  std::string name;
  std::size_t offset, bytes;
  bool is_value = false;  ///< Any number is well-formed here, so changing it may be accepted.
};

/// Appends little-endian numbers and text. Every byte belongs to a field or to text, so a field
/// that a writer forgets to name cannot exist.
class ByteBuilder {
 public:
  template <class T>
  ByteBuilder& number(std::string name, T value, bool is_value = false) {
    fields.push_back({std::move(name), bytes.size(), sizeof(T), is_value});
    formats::append_le(bytes, value);
    return *this;
  }
  ByteBuilder& text(std::string_view value) {
    text_bytes += value.size();
    bytes.append(value);
    return *this;
  }
  /// A string with its 64-bit length before it, as GGUF has them.
  ByteBuilder& string(const std::string& name, std::string_view value) {
    number<std::uint64_t>(name + " length", value.size());
    return text(value);
  }
  ByteBuilder& pad(std::size_t step) {
    while (bytes.size() % step != 0) text(std::string_view("\0", 1));
    return *this;
  }

  std::string bytes;
  std::vector<Field> fields;
  std::size_t text_bytes = 0;
};

/// The extremes that every integer field is set to, given the bytes that follow it.
inline std::vector<std::uint64_t> extremes(std::uint64_t remaining) {
  const std::uint64_t one = 1;
  std::vector<std::uint64_t> values = {0,
                                       1,
                                       2,
                                       3,
                                       4,
                                       5,
                                       13,
                                       31,
                                       33,
                                       63,
                                       64,
                                       65,
                                       127,
                                       128,
                                       255,
                                       256,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       (one << 31) - 1,
                                       one << 31,
                                       (one << 32) - 1,
                                       one << 32,
                                       (one << 32) + 1,
                                       (one << 42) + 1,
                                       (one << 48),
                                       (one << 61) + 1,
                                       (one << 62),
                                       (one << 63) - 1,
                                       one << 63,
                                       (one << 63) + 1,
                                       0x7FFFFFFFFFFFFFC0u,
                                       0x1D1D1D1D1D1D1D1Eu,
                                       ~std::uint64_t{0} - 1,
                                       ~std::uint64_t{0}};
  for (const std::uint64_t size : {8u, 13u, 14u, 24u, 33u, 40u, 72u, 96u}) {
    values.push_back(~std::uint64_t{0} / size + 1);  // ceil(2^64 / size)
    values.push_back(~std::uint64_t{0} / size);
  }
  for (const std::uint64_t delta : {0u, 1u}) {
    values.push_back(remaining + delta);
    values.push_back(remaining - delta);
    values.push_back(remaining / 8 + delta);
  }
  return values;
}

/// \return `bytes` with a field set to `value` (its low bytes), `swapped` for the wrong endian.
inline std::string with_field(std::string bytes, std::size_t offset, std::size_t size,
                              std::uint64_t value, bool swapped = false) {
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = offset + (swapped ? size - 1 - i : i);
    bytes[at] = static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
  }
  return bytes;
}

}  // namespace quern::testing
