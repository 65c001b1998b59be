// Attention to the keys and values of a sequence or of its source.
#include "backends/cuda/kernels/attention.cuh"

namespace quern::backends::cuda {
namespace {

/// n neighbouring numbers, aligned to all of them.
template <KvType type, int n>
QUERN_DEVICE void load_numbers(const std::byte* from, float (&x)[n]) {
  if constexpr (n == 1) {
    x[0] = load_number<type>(from, 0);
  } else if constexpr (type == KvType::kF32) {
    static_assert(n == 4);
    const float4 four = *reinterpret_cast<const float4*>(from);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  } else {
    static_assert(n == 4);
    const uint2 four = *reinterpret_cast<const uint2*>(from);
    const unsigned words[2] = {four.x, four.y};
    QUERN_UNROLL
    for (int i = 0; i < 4; ++i) {
      const auto bits = static_cast<unsigned short>(words[i / 2] >> (16 * (i % 2)));
      x[i] = type == KvType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
  }
}

/// Element d of the keys of n neighbouring positions.
template <KvType type, int n>
struct KeyReader {
  const std::byte* from;
  QUERN_DEVICE_MEMBER void operator()(int d, float (&k)[n]) const {
    load_numbers<type>(from + kNumberBytes<type> * 16 * d, k);
  }
};

/// Two neighbouring columns of the values of a position.
template <KvType type>
struct ValueReader {
  const std::byte* from;
  int row_bytes;
  QUERN_DEVICE_MEMBER float2 operator()(int j) const {
    const std::byte* at = from + row_bytes * j;
    if constexpr (type == KvType::kF32) {
      return *reinterpret_cast<const float2*>(at);
    } else {
      const unsigned both = *reinterpret_cast<const unsigned*>(at);
      const auto low = static_cast<unsigned short>(both);
      const auto high = static_cast<unsigned short>(both >> 16);
      if constexpr (type == KvType::kF16) return {f16_to_f32(low), f16_to_f32(high)};
      return {bf16_to_f32(low), bf16_to_f32(high)};
    }
  }
};

/// One head of a state of one sequence.
template <KvType type>
struct CacheView {
  static constexpr KvType kType = type;
  const AttentionArgs& args;
  const SequenceRecord& sequence;
  HeadBlocks blocks;

  QUERN_DEVICE_MEMBER CacheView(const AttentionArgs& its_args, const SequenceRecord& its_sequence,
                                int kv_head)
      : args(its_args), sequence(its_sequence), blocks(its_args.state, its_sequence, kv_head) {}

  QUERN_DEVICE_MEMBER Seen see(int row) const {
    const int position = args.arrays.positions[row], window = args.shape.window;
    return {window > 0 ? max(0, position - window + 1) : 0,
            args.state.source ? sequence.source_rows : position + 1, position};
  }
  template <int n>
  QUERN_DEVICE_MEMBER KeyReader<type, n> keys(int p) const {
    const int j = p % kBlockPositions;
    return {blocks.key_block(p / kBlockPositions) +
            kNumberBytes<type> * (j / 16 * args.shape.head_dim * 16 + j % 16)};
  }
  /// Columns d and d + 1 of the values of the block that begins at position `first`.
  QUERN_DEVICE_MEMBER ValueReader<type> values(int first, int d) const {
    return {blocks.value_block(first / kBlockPositions) + kNumberBytes<type> * d,
            kNumberBytes<type> * up_to(args.shape.value_dim, 16)};
  }
  /// Codes 8u … 8u + 7 of the key at p, in units of code_sum.
  QUERN_DEVICE_MEMBER uint2 key_pair(int p, int u) const {
    const int j = p % kBlockPositions, words = key_words<type>(args.shape.head_dim);
    const auto* key = reinterpret_cast<const unsigned*>(blocks.key_block(p / kBlockPositions)) +
                      j / 16 * words * 16 + j % 16;
    if constexpr (type == KvType::kQ4) {
      const unsigned both = key[16 * u];
      return {upper_codes(both << 4), upper_codes(both)};
    } else {
      return {key[32 * u], 2 * u + 1 < words ? key[32 * u + 16] : 0};
    }
  }
  /// Codes of positions 4·four … 4·four + 3 of the block that begins at p, at column d, in the same
  /// units.
  QUERN_DEVICE_MEMBER unsigned value_word(int p, int four, int d) const {
    const auto* block = reinterpret_cast<const unsigned*>(blocks.value_block(p / kBlockPositions));
    const int columns = value_columns<type>(args.shape.value_dim);
    if constexpr (type == KvType::kQ4) {
      const unsigned both = block[columns / 2 * four + d / 32 * 16 + d % 16];
      return upper_codes(d % 32 < 16 ? both << 4 : both);
    } else {
      return block[columns * four + d];
    }
  }
  /// The codes in the upper halves of four bytes, where they are stored as code + 8; times 16.
  static QUERN_DEVICE_MEMBER unsigned upper_codes(unsigned word) {
    return (word & 0xf0f0f0f0u) ^ 0x80808080u;
  }
  /// A sum of products with codes, from one of products with what key_pair and value_word give.
  static QUERN_DEVICE_MEMBER int code_sum(int sum) { return type == KvType::kQ4 ? sum >> 4 : sum; }
  QUERN_DEVICE_MEMBER float key_scale(int p) const {
    return scale(blocks.key_block(p / kBlockPositions), key_code_bytes<type>(args.shape.head_dim),
                 p);
  }
  QUERN_DEVICE_MEMBER float value_exponent(int p) const {
    return scale(blocks.value_block(p / kBlockPositions),
                 value_code_bytes<type>(args.shape.value_dim), p);
  }
  static QUERN_DEVICE_MEMBER float scale(const std::byte* block, int code_bytes, int p) {
    return reinterpret_cast<const float*>(block + code_bytes)[p % kBlockPositions];
  }

  QUERN_DEVICE_MEMBER bool adds() const {
    return args.slope != nullptr || args.bias.values != nullptr;
  }
  QUERN_DEVICE_MEMBER float added(const Query& query, int p, float s) const {
    if (args.slope != nullptr)
      s = s + args.slope[query.head] * static_cast<float>(p - query.position);
    if (args.bias.values != nullptr) s = s + distance_bias(args.bias, query, p);
    return s;
  }
};

QUERN_DEVICE TilePlace tile_of(const AttentionArgs& args) {
  const int sequences = args.arrays.sequence[args.rows - 1] + 1;
  return place_tile(args.shape, sequences, [&](int s) {
    return s < sequences ? args.arrays.sequences[s].first_row : args.rows;
  });
}

/// Acc, m and l of a span of one row and head.
QUERN_DEVICE float* partial_of(const AttentionArgs& args, long long row_and_head, int span) {
  return args.partials + (row_and_head * args.spans + span) * (args.shape.value_dim + 2);
}

template <KvType type>
QUERN_DEVICE void attend(const AttentionArgs& args) {
  QUERN_DYNAMIC_SHARED(memory);
  const TilePlace place = tile_of(args);
  if (place.rows == 0) return;
  const CacheView<type> view(args, args.arrays.sequences[place.sequence], place.kv_head);
  const Attend<CacheView<type>> tile(args.shape, view, place, args.q, memory);
  if (args.partials == nullptr) return tile.attend_all(args.sink, args.out);
  const int span = static_cast<int>(blockIdx.z), value_dim = args.shape.value_dim;
  if (span < tile.first_span() || span >= tile.last_span()) return;
  tile.attend_span(span,
                   [&](int i, int d, float acc) { partial_of(args, tile.at(i), span)[d] = acc; });
  if (tile.thread >= tile.queries) return;
  float* partial = partial_of(args, tile.at(tile.thread), span);
  partial[value_dim] = tile.tile.span_m[tile.thread];
  partial[value_dim + 1] = tile.tile.span_l[tile.thread];
}

}  // namespace

QUERN_KERNEL_RESIDENT(quern_attention_f32, AttentionArgs, kAttentionThreads, 2) {
  attend<KvType::kF32>(args);
}
QUERN_KERNEL_RESIDENT(quern_attention_f16, AttentionArgs, kAttentionThreads, 2) {
  attend<KvType::kF16>(args);
}
QUERN_KERNEL_RESIDENT(quern_attention_bf16, AttentionArgs, kAttentionThreads, 2) {
  attend<KvType::kBF16>(args);
}
QUERN_KERNEL_RESIDENT(quern_attention_q8, AttentionArgs, kAttentionThreads, 2) {
  attend<KvType::kQ8>(args);
}
QUERN_KERNEL_RESIDENT(quern_attention_q4, AttentionArgs, kAttentionThreads, 2) {
  attend<KvType::kQ4>(args);
}

QUERN_KERNEL_BOUNDS(quern_attention_merge, AttentionMergeArgs, kMergeThreads) {
  const AttentionArgs& of = args.of;
  const int value_dim = of.shape.value_dim;
  const long long item = blockIdx.x;
  const int row = static_cast<int>(item / of.shape.heads);
  const int head = static_cast<int>(item % of.shape.heads);
  // Of what a row sees no more is needed than from where to where, the same for every type.
  const CacheView<KvType::kF32> view(of, of.arrays.sequences[of.arrays.sequence[row]], 0);
  const Seen seen = view.see(row);
  const int first = seen.begin / kSpanPositions;
  const int last = (seen.end + kSpanPositions - 1) / kSpanPositions;
  for (int d = static_cast<int>(threadIdx.x); d < value_dim; d += kMergeThreads) {
    float m = of.sink == nullptr ? lowest() : of.sink[head] * kLog2E;
    float l = of.sink == nullptr ? 0.0f : 1.0f, acc = 0.0f;
    for (int span = first; span < last; ++span) {
      const float* partial = partial_of(of, item, span);
      const float l_b = partial[value_dim + 1];
      if (l_b == 0.0f) continue;
      const MergeFactors factors = merge_state(m, l, partial[value_dim], l_b);
      acc = __fmaf_rn(acc, factors.keep, partial[d] * factors.add);
    }
    of.out[item * value_dim + d] = finished(acc, l);
  }
}

}  // namespace quern::backends::cuda
