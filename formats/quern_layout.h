/// \file
/// The numbers of the `.quern` container, shared by reader, writer and tests. Normative text:
/// formats/FORMAT.md.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::formats {

inline constexpr std::string_view kQuernMagic{"QUERN\0\r\n", 8};
inline constexpr std::uint32_t kQuernVersion = 1;
inline constexpr std::uint64_t kQuernHeaderBytes = 64;
inline constexpr std::uint64_t kQuernSectionBytes = 32;  ///< One entry of the section table.
inline constexpr std::uint64_t kQuernFrontBytes = 4096;  ///< Header, table and zeros.
inline constexpr std::uint32_t kQuernMaxSections = 126;  ///< What fits in the front.
inline constexpr std::uint64_t kQuernSectionAlign = 64;
inline constexpr std::uint64_t kQuernDataAlign = 4096;  ///< Of the tensor data section.
inline constexpr std::uint64_t kQuernTensorAlign = 64;
inline constexpr std::uint64_t kQuernIndexHeadBytes = 16;
inline constexpr std::uint64_t kQuernRecordBytes = 72;  ///< One tensor in the index.
inline constexpr std::uint64_t kQuernMaxTensors = 1u << 20;
inline constexpr std::uint64_t kQuernMaxNameBytes = 512;
inline constexpr std::uint64_t kQuernMaxConfigBytes = 16u << 20;
inline constexpr std::uint64_t kQuernMaxTextBytes = 4u << 20;  ///< Template and generation.
inline constexpr std::uint64_t kQuernTailSlotBytes = 64;
inline constexpr std::uint64_t kQuernTailHeadBytes = 128;      ///< Two slots.
inline constexpr std::uint64_t kQuernMaxTailBytes = 8u << 20;  ///< One payload.

constexpr std::uint32_t fourcc(const char (&text)[5]) noexcept {
  return static_cast<std::uint32_t>(static_cast<unsigned char>(text[0])) |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[1])) << 8 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[2])) << 16 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[3])) << 24;
}

/// Kinds of sections. The values are part of the format.
enum class Section : std::uint32_t {
  kConfig = fourcc("CONF"),      ///< JSON: configuration and provenance. Required.
  kIndex = fourcc("TIDX"),       ///< The tensor index. Required.
  kTokenizer = fourcc("TOKN"),   ///< Image of a ready tokenizer, opaque here.
  kTemplate = fourcc("CHAT"),    ///< Chat template, UTF-8 text.
  kGeneration = fourcc("GENR"),  ///< JSON: generation defaults.
  kReport = fourcc("QREP"),      ///< JSON: quantization report.
  kSelfTest = fourcc("TEST"),    ///< Self-test, opaque here.
  kData = fourcc("DATA"),        ///< Tensor data. Required.
};
inline constexpr std::uint32_t kQuernRequiredFlag = 1;

/// \return exact bytes of a tensor `dims` (outermost first, 0 … 4 of them, none zero); nullopt on
/// overflow or where encoding and layout do not go together. In kPanel16 the last two dims are one
/// matrix [rows, cols], the leading ones count matrices.
std::optional<std::uint64_t> quern_tensor_bytes(Encoding encoding, Layout layout,
                                                std::span<const std::uint64_t> dims) noexcept;

}  // namespace quern::formats
