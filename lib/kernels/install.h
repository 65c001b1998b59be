/// \file
/// What ISA folders and the dispatcher tell each other. All functions are baseline code.
#pragma once

#include <cstdint>

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

using LinearKernel = void (*)(const LinearArgs&);
using GatherKernel = void (*)(const std::byte*, std::int64_t, std::int64_t, float*);

// Setters: an ISA folder calls no std::array member, which would be a weak symbol (DESIGN.md,
// section 4).
void set_linear(KernelTable& table, Encoding encoding, LinearKernel kernel) noexcept;
void set_gather_row(KernelTable& table, Encoding encoding, GatherKernel kernel) noexcept;
void set_pack_rows(KernelTable& table, RowFormat format, void (*kernel)(const PackArgs&)) noexcept;
void set_activation(KernelTable& table, Activation kind,
                    void (*kernel)(const float*, std::int64_t, float*)) noexcept;
void set_glu(KernelTable& table, Activation kind,
             void (*kernel)(const float*, const float*, std::int64_t, float*)) noexcept;
void set_kv_store(KernelTable& table, KvType type, void (*kernel)(const KvStoreArgs&)) noexcept;
void set_attention(KernelTable& table, KvType type, void (*kernel)(const AttentionArgs&)) noexcept;

/// Where the streams of a panel lie.
struct PanelGeometry {
  std::int64_t panel_bytes;
  std::int64_t stream[4];  ///< Offset of each stream in a panel.
};
/// \pre the encoding is known and the matrix exists (sizes do not overflow).
PanelGeometry panel_geometry(Encoding encoding, std::int64_t k) noexcept;

QUERN_COLD void install_scalar(KernelTable& table);
QUERN_COLD void install_avx2(KernelTable& table);
QUERN_COLD void install_avx512(KernelTable& table);
QUERN_COLD void install_avxvnni(KernelTable& table);
QUERN_COLD void install_avx512vnni(KernelTable& table);
QUERN_COLD void install_avx512amx(KernelTable& table);
QUERN_COLD void install_neon(KernelTable& table);

}  // namespace quern::kernels
