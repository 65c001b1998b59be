#include <cmath>

#include "kernels/kernel_table.h"
#include "kernels/kv_layout.h"
#include "kernels/packed_rows.h"

namespace quern::kernels {
namespace {

/// Bytes of 32 elements of k of an expanded panel: 512 codes and four vectors of 16 float32.
constexpr std::int64_t kExpandedBlock = 512 + 256;
/// Panels that a kernel may sweep together.
constexpr std::int64_t kPanelsTogether = 3;

template <KvType type>
std::int64_t key_bytes(std::int64_t hd) {
  return round_up(key_code_bytes<type>(hd) + (kCoded<type> ? 256 : 0), 64);
}
template <KvType type>
std::int64_t value_bytes(std::int64_t hd) {
  return round_up(64 * value_row_bytes<type>(hd) + (kCoded<type> ? 256 : 0), 64);
}

}  // namespace

std::int64_t packed_rows_bytes(RowFormat format, std::int64_t rows, std::int64_t cols) noexcept {
  std::int64_t row = 0;
  switch (format) {
    case RowFormat::kF32:
      row = f32_row_bytes(cols);
      break;
    case RowFormat::kQ8Group32:
      row = group_row_bytes(cols);
      break;
    case RowFormat::kQ8Rotated:
      row = rotated_row_bytes(cols);
      break;
  }
  return round_up(rows * row, 64);
}

std::int64_t linear_scratch_bytes(Encoding encoding, std::int64_t cols) noexcept {
  const EncodingInfo* info = find_encoding(encoding);
  if (info == nullptr || info->rows == RowFormat::kF32) return 64;
  const std::int64_t k = round_up(cols, 64);
  const std::int64_t panels = kPanelsTogether * (k / 32) * kExpandedBlock;
  if (info->rows == RowFormat::kQ8Group32) return panels;
  return panels + rotated_block_rows(cols) * (k + 8 + 64);  // The rows, their scales and sums.
}

std::int64_t attention_state_floats(std::int64_t n_queries, std::int64_t value_dim) noexcept {
  return state_width(n_queries) * (2 + round_up(value_dim, 16));
}

std::int64_t attention_scratch_bytes(KvType, std::int64_t head_dim,
                                     std::int64_t value_dim) noexcept {
  // Queries packed, scores, codes of weights, numbers per query; numbers per position; a block of
  // keys and of values as float32; the state of a span; a rotated query.
  const std::int64_t per_query = 4 * (round_up(head_dim, 16) + 64 + 16 + 16);
  const std::int64_t per_position = 4 * (8 + round_up(head_dim, 16) + round_up(value_dim, 32));
  return round_up(kMaxQueries * per_query + 64 * per_position +
                      4 * attention_state_floats(kMaxQueries, value_dim) +
                      4 * round_up(head_dim, 16),
                  64);
}

std::int64_t kv_key_block_bytes(KvType type, std::int64_t head_dim) noexcept {
  switch (type) {
    case KvType::kF16:
      return key_bytes<KvType::kF16>(head_dim);
    case KvType::kBF16:
      return key_bytes<KvType::kBF16>(head_dim);
    case KvType::kQ8:
      return key_bytes<KvType::kQ8>(head_dim);
    case KvType::kQ4:
      return key_bytes<KvType::kQ4>(head_dim);
    case KvType::kAuto:
    case KvType::kF32:
      break;
  }
  return key_bytes<KvType::kF32>(head_dim);
}

std::int64_t kv_value_block_bytes(KvType type, std::int64_t value_dim) noexcept {
  switch (type) {
    case KvType::kF16:
      return value_bytes<KvType::kF16>(value_dim);
    case KvType::kBF16:
      return value_bytes<KvType::kBF16>(value_dim);
    case KvType::kQ8:
      return value_bytes<KvType::kQ8>(value_dim);
    case KvType::kQ4:
      return value_bytes<KvType::kQ4>(value_dim);
    case KvType::kAuto:
    case KvType::kF32:
      break;
  }
  return value_bytes<KvType::kF32>(value_dim);
}

std::int64_t kv_store_scratch_bytes(KvType type, std::int64_t head_dim) noexcept {
  return is_coded(type) ? round_up(4 * head_dim, 64) : 0;
}

}  // namespace quern::kernels
