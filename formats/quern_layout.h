/// \file
/// The numbers of the `.quern` container, shared by reader, writer and tests. Normative text:
/// formats/FORMAT.md.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "formats/checksum.h"
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
inline constexpr std::uint64_t kQuernMaxCacheBytes = 4096;
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
  kCache = fourcc("CACH"),       ///< JSON: which key/value cache fits the weights.
  kData = fourcc("DATA"),        ///< Tensor data. Required.
};
inline constexpr std::uint32_t kQuernRequiredFlag = 1;

/// \return exact bytes of a tensor `dims` (outermost first, 0 … 4 of them, none zero); nullopt on
/// overflow or where encoding and layout do not go together. In kPanel16 the last two dims are one
/// matrix [rows, cols], the leading ones count matrices.
std::optional<std::uint64_t> quern_tensor_bytes(Encoding encoding, Layout layout,
                                                std::span<const std::uint64_t> dims) noexcept;

/// Adds what identifies one tensor to the weights hash; called in the order of names.
void hash_tensor(Xxh64& hash, std::string_view name, Encoding encoding, Layout layout,
                 std::uint32_t n_dims, const std::array<std::uint64_t, 4>& dims,
                 std::uint64_t checksum);

/// \return whether a tensor may have this name: 1 to 512 bytes of printable ASCII, no spaces.
bool is_tensor_name(std::string_view name) noexcept;

/// One field of a fixed record. The tables below tile their records exactly; the tests walk them,
/// so a field that is not listed fails a test.
struct FieldSpec {
  std::string_view name;
  std::uint32_t offset, bytes;
};
inline constexpr FieldSpec kQuernHeaderFields[] = {
    {"magic", 0, 8},       {"version", 8, 4},   {"section count", 12, 4},
    {"body bytes", 16, 8}, {"features", 24, 8}, {"table checksum", 32, 8},
    {"reserved", 40, 8},   {"reserved", 48, 8}, {"header checksum", 56, 8}};
inline constexpr FieldSpec kQuernSectionFields[] = {{"section kind", 0, 4},
                                                    {"section flags", 4, 4},
                                                    {"section offset", 8, 8},
                                                    {"section size", 16, 8},
                                                    {"section checksum", 24, 8}};
inline constexpr FieldSpec kQuernIndexHeadFields[] = {{"tensor count", 0, 8},
                                                      {"names bytes", 8, 8}};
inline constexpr FieldSpec kQuernRecordFields[] = {
    {"name offset", 0, 4},    {"name bytes", 4, 4},   {"encoding", 8, 2},
    {"layout", 10, 2},        {"n_dims", 12, 4},      {"dims[0]", 16, 8},
    {"dims[1]", 24, 8},       {"dims[2]", 32, 8},     {"dims[3]", 40, 8},
    {"tensor offset", 48, 8}, {"tensor size", 56, 8}, {"tensor checksum", 64, 8}};
inline constexpr FieldSpec kQuernTailFields[] = {
    {"tail magic", 0, 4},     {"tail state", 4, 4},     {"tail sequence", 8, 8},
    {"tail offset", 16, 8},   {"tail size", 24, 8},     {"tail checksum", 32, 8},
    {"tail reserved", 40, 8}, {"tail reserved", 48, 8}, {"slot checksum", 56, 8}};

}  // namespace quern::formats
