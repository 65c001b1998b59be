// Appending keys and values, as kernels/scalar/kv.cpp.
#include "backends/cuda/kernels/kv_state.cuh"
#include "backends/cuda/kernels/lane.cuh"

namespace quern::backends::cuda {
namespace {

constexpr float kLeastValueScale = 0x1p-40f;

/// One row of one head, by a warp.
struct Entry {
  const float* key;
  const float* value;
  std::byte* key_block;
  std::byte* value_block;
  int j;  ///< The position in its block.
  int head_dim, value_dim, lane;
};

template <KvType type>
QUERN_DEVICE void store_plain(const Entry& e) {
  std::byte* key = e.key_block + kNumberBytes<type> * (e.j / 16 * e.head_dim * 16 + e.j % 16);
  for (int d = e.lane; d < e.head_dim; d += 32) store_number<type>(key, 16 * d, e.key[d]);
  const int columns = up_to(e.value_dim, 16);
  std::byte* value = e.value_block + kNumberBytes<type> * e.j * columns;
  for (int d = e.lane; d < columns; d += 32)
    store_number<type>(value, d, d < e.value_dim ? e.value[d] : 0.0f);
}

QUERN_DEVICE int padded_code(const float* x, int d, int n, float factor) {
  return d < n ? code_of(x[d], factor) : 0;
}

/// The rule with a scale of at least kLeastValueScale, and its log2 in the scale's place.
QUERN_DEVICE CodeRule value_rule(const Entry& e, float limit) {
  const CodeRule rule = code_rule<32>(e.value, e.value_dim, limit, e.lane);
  constexpr float kMostFactor = 1.0f / kLeastValueScale;
  const float scale = rule.scale < kLeastValueScale ? kLeastValueScale : rule.scale;
  return {rule.factor > kMostFactor ? kMostFactor : rule.factor,
          kernels::log2_of(Lane{scale}).v + (scale - scale)};
}

/// Two codes of 4 bits, stored as code + 8.
QUERN_DEVICE std::byte pack_pair(int low, int high) {
  return static_cast<std::byte>(((low + 8) & 15) | (((high + 8) & 15) << 4));
}

/// Calls use(d, code of the rotated key's element d) by all lanes; d goes beyond the key, with
/// codes of 0.
template <class Use>
QUERN_DEVICE void for_rotated(const Entry& e, const CodeRule& rule, const Use& use) {
  for (int b = 0; 64 * b < e.head_dim; ++b) {
    float v[2];
    rotated_block(e.key, e.head_dim, b, e.lane, v);
    for (int h = 0; h < 2; ++h) use(64 * b + 32 * h + e.lane, code_of(v[h], rule.factor));
  }
}

QUERN_DEVICE void store_q8(const Entry& e) {
  const CodeRule k = rotated_rule(e.key, e.head_dim, 127.0f, e.lane);
  const int words = key_words<KvType::kQ8>(e.head_dim);
  for_rotated(e, k, [&](int d, int code) {
    if (d >= 4 * words) return;
    e.key_block[((e.j / 16 * words + d / 4) * 16 + e.j % 16) * 4 + d % 4] =
        static_cast<std::byte>(code & 255);
  });
  const CodeRule v = value_rule(e, 127.0f);
  const int columns = value_columns<KvType::kQ8>(e.value_dim);
  for (int d = e.lane; d < columns; d += 32) {
    e.value_block[(e.j / 4 * columns + d) * 4 + e.j % 4] =
        static_cast<std::byte>(padded_code(e.value, d, e.value_dim, v.factor) & 255);
  }
  if (e.lane != 0) return;
  reinterpret_cast<float*>(e.key_block + key_code_bytes<KvType::kQ8>(e.head_dim))[e.j] = k.scale;
  reinterpret_cast<float*>(e.value_block + value_code_bytes<KvType::kQ8>(e.value_dim))[e.j] =
      v.scale;
}

QUERN_DEVICE void store_q4(const Entry& e) {
  const CodeRule k = rotated_rule(e.key, e.head_dim, 7.0f, e.lane);
  const int words = key_words<KvType::kQ4>(e.head_dim);
  for_rotated(e, k, [&](int d, int code) {
    const int high = __shfl_xor_sync(0xffffffffu, code, 4);
    if (d % 8 >= 4 || d >= 8 * words) return;
    e.key_block[((e.j / 16 * words + d / 8) * 16 + e.j % 16) * 4 + d % 4] = pack_pair(code, high);
  });
  const CodeRule v = value_rule(e, 7.0f);
  const int cells = value_columns<KvType::kQ4>(e.value_dim) / 32;
  for (int i = e.lane; i < 16 * cells; i += 32) {
    const int d = i / 16 * 32 + i % 16;
    e.value_block[((e.j / 4 * cells + i / 16) * 16 + i % 16) * 4 + e.j % 4] =
        pack_pair(padded_code(e.value, d, e.value_dim, v.factor),
                  padded_code(e.value, d + 16, e.value_dim, v.factor));
  }
  if (e.lane != 0) return;
  reinterpret_cast<float*>(e.key_block + key_code_bytes<KvType::kQ4>(e.head_dim))[e.j] = k.scale;
  reinterpret_cast<float*>(e.value_block + value_code_bytes<KvType::kQ4>(e.value_dim))[e.j] =
      v.scale;
}

template <KvType type>
QUERN_DEVICE void store(const KvStoreArgs& args) {
  const StateArgs& state = args.state;
  const long long item = (static_cast<long long>(blockIdx.x) * kStoreThreads + threadIdx.x) / 32;
  if (item >= args.rows * state.heads) return;
  const int row = static_cast<int>(item / state.heads), head = static_cast<int>(item % state.heads);
  const HeadBlocks blocks(state, args.arrays.sequences[args.arrays.sequence[row]], head);
  const int position = args.arrays.positions[row], b = position / kBlockPositions;
  const Entry entry{args.k + item * state.head_dim,
                    args.v + item * state.value_dim,
                    blocks.key_block(b),
                    blocks.value_block(b),
                    position % kBlockPositions,
                    state.head_dim,
                    state.value_dim,
                    static_cast<int>(threadIdx.x % 32)};
  if constexpr (type == KvType::kQ8) {
    store_q8(entry);
  } else if constexpr (type == KvType::kQ4) {
    store_q4(entry);
  } else {
    store_plain<type>(entry);
  }
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_kv_store_f32, KvStoreArgs, kStoreThreads) { store<KvType::kF32>(args); }
QUERN_KERNEL_BOUNDS(quern_kv_store_f16, KvStoreArgs, kStoreThreads) { store<KvType::kF16>(args); }
QUERN_KERNEL_BOUNDS(quern_kv_store_bf16, KvStoreArgs, kStoreThreads) { store<KvType::kBF16>(args); }
QUERN_KERNEL_BOUNDS(quern_kv_store_q8, KvStoreArgs, kStoreThreads) { store<KvType::kQ8>(args); }
QUERN_KERNEL_BOUNDS(quern_kv_store_q4, KvStoreArgs, kStoreThreads) { store<KvType::kQ4>(args); }

}  // namespace quern::backends::cuda
