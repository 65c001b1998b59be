#include "kernels/install.h"

namespace quern::kernels {

void set_linear(KernelTable& table, Encoding encoding, LinearKernel kernel) noexcept {
  table.linear[static_cast<std::size_t>(encoding)] = kernel;
}
void set_gather_row(KernelTable& table, Encoding encoding, GatherKernel kernel) noexcept {
  table.gather_row[static_cast<std::size_t>(encoding)] = kernel;
}
void set_pack_rows(KernelTable& table, RowFormat format, void (*kernel)(const PackArgs&)) noexcept {
  table.pack_rows[static_cast<std::size_t>(format)] = kernel;
}
void set_activation(KernelTable& table, Activation kind,
                    void (*kernel)(const float*, std::int64_t, float*)) noexcept {
  table.activation[static_cast<std::size_t>(kind)] = kernel;
}
void set_glu(KernelTable& table, Activation kind,
             void (*kernel)(const float*, const float*, std::int64_t, float*)) noexcept {
  table.glu[static_cast<std::size_t>(kind)] = kernel;
}
void set_kv_store(KernelTable& table, KvType type, void (*kernel)(const KvStoreArgs&)) noexcept {
  table.kv_store[static_cast<std::size_t>(type)] = kernel;
}
void set_attention(KernelTable& table, KvType type, void (*kernel)(const AttentionArgs&)) noexcept {
  table.attention[static_cast<std::size_t>(type)] = kernel;
}

PanelGeometry panel_geometry(Encoding encoding, std::int64_t k) noexcept {
  PanelGeometry geometry{};
  const EncodingInfo* info = find_encoding(encoding);
  if (info == nullptr) return geometry;
  const auto cols = static_cast<std::uint64_t>(k);
  geometry.panel_bytes = static_cast<std::int64_t>(panel_bytes(*info, cols).value_or(0));
  for (int i = 0; i < 4; ++i) {
    geometry.stream[i] = static_cast<std::int64_t>(stream_offset(*info, cols, i).value_or(0));
  }
  return geometry;
}

}  // namespace quern::kernels
