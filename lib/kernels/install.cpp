#include "kernels/install.h"

#include "kernels/packed_rows.h"

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
  // One pass, without stream_offset()'s checks: every product of every token asks.
  const std::int64_t padded = round_up(k, info->k_multiple);
  for (int i = 0; i < 4; ++i) {
    const EncodingInfo::Stream& stream = info->streams[static_cast<std::size_t>(i)];
    geometry.stream[i] = geometry.panel_bytes;
    const std::int64_t cells = stream.k_step == 0 ? 1 : padded / stream.k_step;
    geometry.panel_bytes += round_up(cells * stream.cell_bytes, 64);
  }
  return geometry;
}

}  // namespace quern::kernels
