// Appending keys and values, by the oracle.
#include "kernels/scalar/kv.h"

#include "kernels/install.h"

namespace quern::kernels {
namespace {

template <KvType type>
void store_float(std::byte* to, float x) {
  if constexpr (type == KvType::kF32) store(to, x);
  if constexpr (type == KvType::kF16) store(to, quant::f32_to_f16(x));
  if constexpr (type == KvType::kBF16) store(to, quant::f32_to_bf16(x));
}

template <KvType type>
void store_plain(const KvStoreArgs& args) {
  constexpr std::int64_t kBytes = type == KvType::kF32 ? 4 : 2;
  const std::int64_t block = args.pos / kKvBlock, j = args.pos % kKvBlock;
  std::byte* key = key_block(args.head, block);
  for (std::int64_t d = 0; d < args.head_dim; ++d) {
    store_float<type>(key + kBytes * ((j / 16 * args.head_dim + d) * 16 + j % 16), args.key[d]);
  }
  std::byte* value = value_block(args.head, block) + j * value_row_bytes<type>(args.value_dim);
  for (std::int64_t d = 0; d < round_up(args.value_dim, 16); ++d) {
    store_float<type>(value + kBytes * d, d < args.value_dim ? args.value[d] : 0.0f);
  }
}

/// Code d of a vector of n, 0 beyond.
int vector_code(const float* x, std::int64_t d, std::int64_t n, float factor) {
  return d < n ? code_of(x[d], factor) : 0;
}

/// As code_scale(), but the scale is at least kLeastValueScale and its log2 is returned.
CodeScale value_scale(const float* x, std::int64_t n, float limit) {
  const CodeScale rule = code_scale(x, n, limit);
  constexpr float kMostFactor = 1.0f / kLeastValueScale;
  const float scale = rule.scale < kLeastValueScale ? kLeastValueScale : rule.scale;
  return {rule.factor > kMostFactor ? kMostFactor : rule.factor,
          log2_scalar(scale) + (scale - scale)};
}

/// The key as its codes have it.
const float* rotated_key(const KvStoreArgs& args) {
  auto* out = reinterpret_cast<float*>(args.scratch);
  rotated_vector(args.key, args.head_dim, out);
  return out;
}

void store_q8(const KvStoreArgs& args) {
  const std::int64_t block = args.pos / kKvBlock, j = args.pos % kKvBlock;
  std::byte* key = key_block(args.head, block);
  const float* rotated = rotated_key(args);
  const CodeScale k = code_scale(rotated, args.head_dim, 127.0f);
  const std::int64_t groups = round_up(args.head_dim, 4) / 4;
  for (std::int64_t d = 0; d < 4 * groups; ++d) {
    const int code = vector_code(rotated, d, args.head_dim, k.factor);
    key[((j / 16 * groups + d / 4) * 16 + j % 16) * 4 + d % 4] = static_cast<std::byte>(code & 255);
  }
  store(key + key_code_bytes<KvType::kQ8>(args.head_dim) + 4 * j, k.scale);

  std::byte* value = value_block(args.head, block);
  const CodeScale v = value_scale(args.value, args.value_dim, 127.0f);
  const std::int64_t row = value_row_bytes<KvType::kQ8>(args.value_dim);
  for (std::int64_t d = 0; d < row; ++d) {
    const int code = vector_code(args.value, d, args.value_dim, v.factor);
    value[q8_value_at(args.value_dim, j, d)] = static_cast<std::byte>(code & 255);
  }
  store(value + 64 * row + 4 * j, v.scale);
}

/// Two codes of 4 bits, stored as code + 8.
std::byte pack_pair(int low, int high) {
  return static_cast<std::byte>(((low + 8) & 15) | (((high + 8) & 15) << 4));
}

void store_q4(const KvStoreArgs& args) {
  const std::int64_t block = args.pos / kKvBlock, j = args.pos % kKvBlock;
  std::byte* key = key_block(args.head, block);
  const float* rotated = rotated_key(args);
  const CodeScale k = code_scale(rotated, args.head_dim, 7.0f);
  const std::int64_t groups = round_up(args.head_dim, 8) / 8;
  for (std::int64_t u = 0; u < groups; ++u) {
    for (std::int64_t i = 0; i < 4; ++i) {
      key[((j / 16 * groups + u) * 16 + j % 16) * 4 + i] =
          pack_pair(vector_code(rotated, 8 * u + i, args.head_dim, k.factor),
                    vector_code(rotated, 8 * u + 4 + i, args.head_dim, k.factor));
    }
  }
  store(key + key_code_bytes<KvType::kQ4>(args.head_dim) + 4 * j, k.scale);

  std::byte* value = value_block(args.head, block);
  const CodeScale v = value_scale(args.value, args.value_dim, 7.0f);
  const std::int64_t row = value_row_bytes<KvType::kQ4>(args.value_dim);
  for (std::int64_t d = 0; d < 2 * row; d += d % 32 == 15 ? 17 : 1) {
    value[q4_value_at(args.value_dim, j, d)] =
        pack_pair(vector_code(args.value, d, args.value_dim, v.factor),
                  vector_code(args.value, d + 16, args.value_dim, v.factor));
  }
  store(value + 64 * row + 4 * j, v.scale);
}

template <void (*store_one)(const KvStoreArgs&)>
void store_all(const KvStoreArgs& args) {
  KvStoreArgs one = args;
  for (std::int64_t i = 0; i < args.count; ++i, ++one.pos) {
    store_one(one);
    one.key += args.key_stride;
    one.value += args.value_stride;
  }
}

}  // namespace

void install_scalar_kv(KernelTable& table) {
  set_kv_store(table, KvType::kF32, store_all<store_plain<KvType::kF32>>);
  set_kv_store(table, KvType::kF16, store_all<store_plain<KvType::kF16>>);
  set_kv_store(table, KvType::kBF16, store_all<store_plain<KvType::kBF16>>);
  set_kv_store(table, KvType::kQ8, store_all<store_q8>);
  set_kv_store(table, KvType::kQ4, store_all<store_q4>);
}

}  // namespace quern::kernels
