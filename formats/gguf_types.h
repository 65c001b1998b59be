/// \file
/// The numbers of GGUF: value types of metadata and types of tensors (ggml's block formats).
/// Source: the GGUF specification (ggml, docs/gguf.md) and the block structures it names.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "quern/encoding.h"

namespace quern::formats {

/// Type of a metadata value; the values are GGUF's.
enum class GgufType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// \return bytes of one value of a fixed-size type; 0 for strings, arrays and unknown ids.
std::uint64_t gguf_type_bytes(GgufType type) noexcept;
/// \return "u8", "string", …; "?" for an unknown id.
std::string_view gguf_type_name(GgufType type) noexcept;

/// One tensor type of ggml: `block_elements` neighbouring elements of a row take `block_bytes`.
struct GgmlType {
  std::uint32_t id;
  std::string_view name;  ///< As GGUF tools print it, e.g. "Q4_1".
  std::uint32_t block_elements;
  std::uint32_t block_bytes;
  std::optional<Encoding> encoding;  ///< Ours of the same bits, where quern computes with it.
};

/// \return all types whose size is known, by id.
std::span<const GgmlType> ggml_types() noexcept;
/// \return the type of an id, or nullptr.
const GgmlType* find_ggml_type(std::uint32_t id) noexcept;
/// \return the type that holds an encoding's values bit for bit, or nullptr (native encodings).
const GgmlType* ggml_type_of(Encoding encoding) noexcept;

/// \return bytes of a tensor with `ne` (ggml's order, the row length first); nullopt on overflow,
/// for a zero dimension, or where the row is no whole number of blocks.
std::optional<std::uint64_t> ggml_tensor_bytes(const GgmlType& type,
                                               std::span<const std::uint64_t> ne) noexcept;

}  // namespace quern::formats
