// The one table of encodings. What the cells mean: formats/ENCODINGS.md.

#include <iterator>

#include "quern/checked.h"
#include "quern/encoding.h"

namespace quern {
namespace {

constexpr std::uint64_t kPanelRows = 16;
constexpr std::uint64_t kStreamAlign = 64;

constexpr RowFormat kRowsF32 = RowFormat::kF32;
constexpr RowFormat kGroup32 = RowFormat::kQ8Group32;
constexpr RowFormat kRotated = RowFormat::kQ8Rotated;

// Streams in the order in which they lie in a panel: codes, high bits, (sub-)scales, row or block
// scales. Encodings of k_step 1 hold whole elements; integers are no weights, so plain only.
constexpr EncodingInfo kTable[] = {
    {Encoding::kF32, "f32", 1, kRowsF32, {{{1, 64}}}, true},
    {Encoding::kF16, "f16", 1, kRowsF32, {{{1, 32}}}, true},
    {Encoding::kBF16, "bf16", 1, kRowsF32, {{{1, 32}}}, true},
    {Encoding::kI32, "i32", 1, kRowsF32, {{{1, 64}}}, false},
    {Encoding::kI64, "i64", 1, kRowsF32, {{{1, 128}}}, false},
    {Encoding::kU8, "u8", 1, kRowsF32, {{{1, 16}}}, false},
    {Encoding::kQ4_0, "q4_0", 32, kGroup32, {{{32, 256}, {32, 32}}}, true},
    {Encoding::kQ4_1, "q4_1", 32, kGroup32, {{{32, 256}, {32, 32}, {32, 32}}}, true},
    {Encoding::kQ5_0, "q5_0", 32, kGroup32, {{{32, 256}, {32, 64}, {32, 32}}}, true},
    {Encoding::kQ5_1, "q5_1", 32, kGroup32, {{{32, 256}, {32, 64}, {32, 32}, {32, 32}}}, true},
    {Encoding::kQ8_0, "q8_0", 32, kGroup32, {{{32, 512}, {32, 32}}}, true},
    {Encoding::kQ2_K, "q2_k", 256, kGroup32, {{{32, 128}, {32, 32}, {256, 64}}}, true},
    {Encoding::kQ3_K, "q3_k", 256, kGroup32, {{{32, 128}, {32, 64}, {32, 32}, {256, 32}}}, true},
    {Encoding::kQ4_K, "q4_k", 256, kGroup32, {{{32, 256}, {32, 32}, {256, 64}}}, true},
    {Encoding::kQ5_K, "q5_k", 256, kGroup32, {{{32, 256}, {32, 64}, {32, 32}, {256, 64}}}, true},
    {Encoding::kQ6_K, "q6_k", 256, kGroup32, {{{32, 256}, {32, 128}, {32, 32}, {256, 32}}}, true},
    {Encoding::kIQ4_NL, "iq4_nl", 32, kGroup32, {{{32, 256}, {32, 32}}}, true},
    {Encoding::kIQ4_XS, "iq4_xs", 256, kGroup32, {{{32, 256}, {32, 16}, {256, 32}}}, true},
    {Encoding::kMXFP4, "mxfp4", 32, kGroup32, {{{32, 256}, {32, 16}}}, true},
    {Encoding::kQR8, "qr8", 64, kRotated, {{{32, 512}, {0, 64}}}, true},
    {Encoding::kQR4, "qr4", 64, kRotated, {{{32, 256}, {32, 16}, {0, 64}}}, true},
    {Encoding::kQR3, "qr3", 64, kRotated, {{{32, 128}, {32, 64}, {32, 16}, {0, 64}}}, true},
    {Encoding::kQR5, "qr5", 64, kRotated, {{{32, 256}, {32, 64}, {32, 16}, {0, 64}}}, true},
    {Encoding::kQR6, "qr6", 64, kRotated, {{{32, 256}, {32, 128}, {32, 16}, {0, 64}}}, true},
};

/// Bytes of one stream for rows of `padded_cols` elements, before its padding.
std::optional<std::uint64_t> stream_bytes(const EncodingInfo::Stream& stream,
                                          std::uint64_t padded_cols) noexcept {
  const std::uint64_t cells = stream.k_step == 0 ? 1 : padded_cols / stream.k_step;
  return checked_mul<std::uint64_t>(cells, stream.cell_bytes);
}

/// Bytes of the first `count` streams, each padded to 64.
std::optional<std::uint64_t> streams_bytes(const EncodingInfo& info, std::uint64_t cols,
                                           std::size_t count) noexcept {
  const auto padded = round_up<std::uint64_t>(cols, info.k_multiple);
  if (!padded) return std::nullopt;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto raw = stream_bytes(info.streams[i], *padded);
    const auto aligned = raw ? round_up(*raw, kStreamAlign) : raw;
    const auto sum = aligned ? checked_add(total, *aligned) : aligned;
    if (!sum) return std::nullopt;
    total = *sum;
  }
  return total;
}

std::size_t stream_count(const EncodingInfo& info) noexcept {
  std::size_t count = 0;
  while (count < info.streams.size() && info.streams[count].cell_bytes != 0) ++count;
  return count;
}

}  // namespace

const EncodingInfo* encodings_begin() noexcept { return std::begin(kTable); }
const EncodingInfo* encodings_end() noexcept { return std::end(kTable); }

const EncodingInfo* find_encoding(Encoding id) noexcept {
  for (const EncodingInfo& info : kTable) {
    if (info.id == id) return &info;
  }
  return nullptr;
}

const EncodingInfo* find_encoding(std::string_view name) noexcept {
  for (const EncodingInfo& info : kTable) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

std::optional<std::uint64_t> panel_bytes(const EncodingInfo& info, std::uint64_t cols) noexcept {
  return streams_bytes(info, cols, stream_count(info));
}

std::optional<std::uint64_t> stream_offset(const EncodingInfo& info, std::uint64_t cols,
                                           int index) noexcept {
  if (index < 0 || static_cast<std::size_t>(index) > stream_count(info)) return std::nullopt;
  return streams_bytes(info, cols, static_cast<std::size_t>(index));
}

std::optional<std::uint64_t> tensor_bytes(const EncodingInfo& info, Layout layout,
                                          std::uint64_t rows, std::uint64_t cols) noexcept {
  if (layout == Layout::kPanel16) {
    if (!info.weight) return std::nullopt;
    const auto panel = panel_bytes(info, cols);
    const auto padded_rows = round_up(rows, kPanelRows);
    if (!panel || !padded_rows) return std::nullopt;
    return checked_mul(*padded_rows / kPanelRows, *panel);
  }
  if (layout != Layout::kPlain || info.streams[0].k_step != 1) return std::nullopt;
  const auto elements = checked_mul(rows, cols);
  if (!elements) return std::nullopt;
  return checked_mul<std::uint64_t>(*elements, info.streams[0].cell_bytes / kPanelRows);
}

}  // namespace quern
