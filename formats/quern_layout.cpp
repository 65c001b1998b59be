#include "formats/quern_layout.h"

#include <string>

#include "formats/byte_reader.h"

namespace quern::formats {

std::optional<std::uint64_t> quern_tensor_bytes(Encoding encoding, Layout layout,
                                                std::span<const std::uint64_t> dims) noexcept {
  const EncodingInfo* info = find_encoding(encoding);
  if (info == nullptr || dims.size() > 4) return std::nullopt;
  const std::size_t n_matrix = layout == Layout::kPanel16 ? 2 : dims.empty() ? 0 : 1;
  if (dims.size() < n_matrix) return std::nullopt;
  std::uint64_t leading = 1;
  for (const std::uint64_t extent : dims.first(dims.size() - n_matrix)) {
    const auto product = checked_mul(leading, extent);
    if (!product) return std::nullopt;
    leading = *product;
  }
  const std::uint64_t cols = dims.empty() ? 1 : dims.back();
  const std::uint64_t rows = n_matrix == 2 ? dims[dims.size() - 2] : leading;
  if (rows == 0 || cols == 0 || leading == 0) return std::nullopt;
  const auto bytes = tensor_bytes(*info, layout, rows, cols);
  if (!bytes || n_matrix != 2) return bytes;
  return checked_mul(*bytes, leading);
}

void hash_tensor(Xxh64& hash, std::string_view name, Encoding encoding, Layout layout,
                 std::uint32_t n_dims, const std::array<std::uint64_t, 4>& dims,
                 std::uint64_t checksum) {
  std::string record;
  append_le(record, static_cast<std::uint32_t>(name.size()));
  record.append(name);
  append_le(record, static_cast<std::uint16_t>(encoding));
  append_le(record, static_cast<std::uint16_t>(layout));
  append_le(record, n_dims);
  for (const std::uint64_t extent : dims) append_le(record, extent);
  append_le(record, checksum);
  hash.add(as_bytes(record));
}

bool is_tensor_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > kQuernMaxNameBytes) return false;
  for (const char c : name) {
    if (c <= 0x20 || c >= 0x7f) return false;
  }
  return true;
}

}  // namespace quern::formats
