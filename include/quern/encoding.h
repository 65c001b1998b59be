/// \file
/// How the numbers of a tensor are stored: names, ids in the file, and the geometry of a block.
/// What the bytes mean is written down in formats/FORMAT.md; `lib/quant` computes with them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace quern {

/// The values are stored in `.quern` files and never change.
enum class Encoding : std::uint16_t {
  kF32 = 0,
  kF16 = 1,
  kBF16 = 2,
  kI32 = 3,
  kI64 = 4,
  kU8 = 5,
  // GGUF's own blocks, bits kept.
  kQ4_0 = 16,
  kQ4_1 = 17,
  kQ5_0 = 18,
  kQ5_1 = 19,
  kQ8_0 = 20,
  kQ2_K = 21,
  kQ3_K = 22,
  kQ4_K = 23,
  kQ5_K = 24,
  kQ6_K = 25,
  kIQ4_NL = 26,
  kIQ4_XS = 27,
  kMXFP4 = 28,
  // Native: stored under a block-64 Hadamard rotation, one float scale a row, integers below.
  kQR8 = 64,
  kQR4 = 65,
  kQR3 = 66,
  kQR5 = 67,
  kQR6 = 68,
};

/// How the elements of a tensor lie in its bytes.
enum class Layout : std::uint16_t {
  kPlain = 0,    ///< Row-major; f32, f16, bf16 and integers only.
  kPanel16 = 1,  ///< Panels of 16 output rows, k interleaved (FORMAT.md, "Panels").
};

/// What rows of activations a weight encoding is multiplied with (lib/kernels).
enum class RowFormat : std::uint8_t {
  kF32 = 0,        ///< Float32 as it is.
  kQ8Group32 = 1,  ///< int8, one float32 scale per 32 elements.
  kQ8Rotated = 2,  ///< Block-64 Hadamard rotation, then int8 with one float32 scale per row.
};

/// One row of the table of encodings. A *stream* is a run of equal cells, one per `k_step` of k,
/// each holding 16 rows side by side; a panel is its streams one after the other, each padded to
/// 64 bytes (FORMAT.md). `k_step == 0` marks a stream with one cell for the whole row length.
struct EncodingInfo {
  struct Stream {
    std::uint16_t k_step;      ///< Elements of k that one cell covers; 0: the whole row.
    std::uint16_t cell_bytes;  ///< Bytes of one cell (16 rows).
  };
  Encoding id;
  std::string_view name;     ///< As in the command line, e.g. "q4_k".
  std::uint16_t k_multiple;  ///< Row lengths are padded to this multiple.
  RowFormat rows;
  std::array<Stream, 4> streams;
  bool weight;  ///< Whether a linear layer may be stored so.
};

/// \return every encoding, in the order of ids.
const EncodingInfo* encodings_begin() noexcept;
const EncodingInfo* encodings_end() noexcept;

/// \return the row of an id, or nullptr for an id that this version does not know.
const EncodingInfo* find_encoding(Encoding id) noexcept;
const EncodingInfo* find_encoding(std::string_view name) noexcept;

/// \return bytes of one 16-row panel with rows of `cols` elements; nullopt on overflow. Panels
/// are 64-byte aligned relative to the tensor's start.
std::optional<std::uint64_t> panel_bytes(const EncodingInfo& info, std::uint64_t cols) noexcept;

/// \return offset in a panel of stream `index` (0…3) for rows of `cols` elements; nullopt on
/// overflow.
std::optional<std::uint64_t> stream_offset(const EncodingInfo& info, std::uint64_t cols,
                                           int index) noexcept;

/// \return bytes of a whole matrix `[rows, cols]`; nullopt on overflow or where `layout` does not
/// allow the encoding. For kPanel16 rows are padded to 16 and cols to `k_multiple`.
std::optional<std::uint64_t> tensor_bytes(const EncodingInfo& info, Layout layout,
                                          std::uint64_t rows, std::uint64_t cols) noexcept;

}  // namespace quern
