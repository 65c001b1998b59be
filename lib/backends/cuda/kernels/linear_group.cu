// Matrix products of GGUF's encodings: within a group of 32 or 16 the sum is exact, groups are
// added in order of k by one thread for each result.
#include "backends/cuda/kernels/linear.cuh"

namespace quern::backends::cuda {
namespace {

/// The scales and sums of a tile's record.
struct RecordScales {
  const float* scale;      ///< `[8]`
  const short* half_sums;  ///< `[2][8]`

  QUERN_DEVICE_MEMBER explicit RecordScales(const std::byte* record)
      : scale(reinterpret_cast<const float*>(record + kCodeRecord)),
        half_sums(reinterpret_cast<const short*>(record + kCodeRecord + 4 * kTileRows)) {}

  /// Sum of a token's codes in the group: 32 of them, or half number h.
  template <int halves>
  QUERN_DEVICE_MEMBER float sum(int token, int h) const {
    const int one = half_sums[8 * h + token];
    return static_cast<float>(halves == 2 ? one : one + half_sums[8 + token]);
  }
};

/// Sums begin at the bits of 1.5·2²³, so that they are floats once it is taken away again: exact
/// below 2²², and an addition where a conversion would take twice as long.
constexpr int kSumStart = 0x4b400000;

/// Adds one group to a result.
template <class C>
QUERN_DEVICE float add_group(int sum, const GroupScale& w, float dx, float codes, float acc) {
  const float exact = __int_as_float(sum) - __int_as_float(kSumStart);
  acc = __fmaf_rn(exact, w.dw * dx, acc);
  return C::kMin ? __fmaf_rn(w.mw, dx * codes, acc) : acc;
}

/// The exact sums of the groups of a block of 32, above kSumStart: at most 32·127·128 either way.
template <class C>
QUERN_DEVICE void group_sums(const unsigned (&weights)[4], const unsigned (&codes)[2],
                             int (&d)[C::kHalves][4]) {
  if constexpr (C::kHalves == 1) {
    mma_s8_from(kSumStart, d[0], weights, codes);
  } else {
    for (int h = 0; h < 2; ++h) {
      const unsigned half_weights[2] = {weights[2 * h], weights[2 * h + 1]};
      const unsigned half_codes[1] = {codes[h]};
      mma_s8_k16_from(kSumStart, d[h], half_weights, half_codes);
    }
  }
}

/// Blocks of 32 of k that a warp has under way where rows are few; of encodings with two sums in
/// each, one, because shared memory bounds how many warps there are.
template <Encoding E>
inline constexpr int kDepth = Codes<E>::kHalves == 1 ? 2 : 1;

/// A lane's part of a block of 32 of k, on its way from memory.
template <Encoding E>
struct Arriving {
  using C = Codes<E>;
  unsigned weights[4], codes[2];
  GroupScale scale;            ///< Of row lane % 16, half lane / 16.
  float dx, sums[C::kHalves];  ///< Of token lane % 8.

  QUERN_DEVICE_MEMBER void load(const Panel& panel, const std::byte* record, int b, const Place& at,
                                int lane) {
    const RecordScales scales(record);
    load_weights<C>(panel, b, at, weights);
    load_activations(record, at, codes);
    scale = C::scale(panel, b, lane % 16, C::kHalves == 2 ? lane / 16 : 0);
    dx = scales.scale[lane % kTileRows];
    for (int h = 0; h < C::kHalves; ++h)
      sums[h] = C::kMin ? scales.template sum<C::kHalves>(lane % kTileRows, h) : 0.0f;
  }
};

/// All that the threads which add need of a block of 32 of k.
template <Encoding E>
struct Arrived {
  using C = Codes<E>;
  int sums[C::kHalves][16 * kTileRows];
  GroupScale scale[C::kHalves][16];
  float dx[kTileRows], codes[C::kHalves][kTileRows];

  QUERN_DEVICE_MEMBER void take(const Arriving<E>& block, const Place& at, int lane) {
    int d[C::kHalves][4];
    group_sums<C>(block.weights, block.codes, d);
    for (int h = 0; h < C::kHalves; ++h) {
      for (int i = 0; i < 4; ++i) sums[h][16 * at.result_column(i) + at.result_row(i)] = d[h][i];
    }
    if (lane < 16 * C::kHalves) scale[lane / 16][lane % 16] = block.scale;
    if (lane >= kTileRows) return;
    dx[lane] = block.dx;
    for (int h = 0; h < C::kHalves; ++h) codes[h][lane] = block.sums[h];
  }
  QUERN_DEVICE_MEMBER float add(int row, int token, float acc) const {
    for (int h = 0; h < C::kHalves; ++h)
      acc = add_group<C>(sums[h][16 * token + row], scale[h][row], dx[token], codes[h][token], acc);
    return acc;
  }
};

/// At most a tile of rows: a block has one panel. In a round each warp makes the sums of kDepth
/// blocks of 32, and reads the next ones; then a thread for each result adds them in order.
template <Encoding E>
QUERN_DEVICE void multiply_few(const LinearArgs& args) {
  constexpr int kBlocks = kWarps * kDepth<E>;  // Of a round.
  __shared__ Arrived<E> rounds[2][kBlocks];
  const Segment segment(args);
  const int tile_number = static_cast<int>(blockIdx.y);
  if (tile_number >= segment.tiles()) return;
  const std::byte* tile = segment.tile(args, tile_number);
  const Panel panel(segment.w, blockIdx.x);
  const Place at;
  const int blocks = static_cast<int>((segment.w.k + 31) / 32);
  const int mine = static_cast<int>(threadIdx.x), warp = mine >> 5, lane = mine & 31;
  const int row = mine % 16, token = mine / 16;
  const bool adds = token < kTileRows && tile_number * kTileRows + token < segment.rows;
  Arriving<E> next[kDepth<E>] = {};
  const auto load = [&](int first) {
    QUERN_UNROLL
    for (int i = 0; i < kDepth<E>; ++i) {
      const int b = first + i * kWarps + warp;
      if (b < blocks)
        next[i].load(panel, tile + static_cast<long long>(b) * kGroupRecord, b, at, lane);
    }
  };
  load(0);
  float acc = 0.0f;
  for (int first = 0, round = 0; first < blocks; first += kBlocks, ++round) {
    auto& arrived = rounds[round & 1];
    QUERN_UNROLL
    for (int i = 0; i < kDepth<E>; ++i) {
      const int b = i * kWarps + warp;
      if (first + b < blocks) arrived[b].take(next[i], at, lane);
    }
    load(first + kBlocks);
    __syncthreads();
    if (!adds) continue;
    if (first + kBlocks <= blocks) {
      QUERN_UNROLL
      for (int b = 0; b < kBlocks; ++b) acc = arrived[b].add(row, token, acc);
    } else {
      for (int b = 0; first + b < blocks; ++b) acc = arrived[b].add(row, token, acc);
    }
  }
  if (adds)
    segment.finish(args, tile_number * kTileRows + token, 16 * static_cast<int>(blockIdx.x) + row,
                   acc);
}

/// a + b, each half modulo 2^16.
QUERN_DEVICE unsigned plus_halves(unsigned a, unsigned b) {
  const unsigned high = 0x80008000u;
  return ((a & ~high) + (b & ~high)) ^ ((a ^ b) & high);
}

/// What a thread reads of a tile's record: codes for its fragment, and of the two tokens of its
/// results scales and sums of codes, a pair of these to a word.
template <class C>
struct Tokens {
  unsigned codes[2], sums[C::kHalves];
  float2 scale;

  QUERN_DEVICE_MEMBER void load(const std::byte* record, const Place& at) {
    const RecordScales scales(record);
    const int first = at.result_column(0);
    load_activations(record, at, codes);
    scale = *reinterpret_cast<const float2*>(scales.scale + first);
    const auto* pairs = reinterpret_cast<const unsigned*>(scales.half_sums + first);
    for (int h = 0; h < C::kHalves; ++h) sums[h] = C::kMin ? pairs[4 * h] : 0;
    if (C::kMin && C::kHalves == 1) sums[0] = plus_halves(sums[0], pairs[4]);
  }
  /// The sum of the codes of token r % 2.
  QUERN_DEVICE_MEMBER float sum(int h, int r) const {
    return static_cast<float>(static_cast<short>(r % 2 == 0 ? sums[h] : sums[h] >> 16));
  }
  /// Adds a block of 32 of k to the thread's four results of a tile.
  QUERN_DEVICE_MEMBER void add(const unsigned (&weights)[4], const GroupScale (&w)[C::kHalves][2],
                               float (&acc)[4]) const {
    int d[C::kHalves][4];
    group_sums<C>(weights, codes, d);
    for (int h = 0; h < C::kHalves; ++h) {
      QUERN_UNROLL
      for (int r = 0; r < 4; ++r)
        acc[r] =
            add_group<C>(d[h][r], w[h][r >> 1], r % 2 == 0 ? scale.x : scale.y, sum(h, r), acc[r]);
    }
  }
};

/// A warp's panels by its tiles. All loads of a block of k come first, and nothing branches.
template <Encoding E>
QUERN_DEVICE void multiply_many(const LinearArgs& args) {
  using C = Codes<E>;
  const Segment segment(args);
  const WarpTile mine(segment);
  const Place at;
  if (mine.is_empty()) return;
  const int blocks = static_cast<int>((segment.w.k + 31) / 32);
  const std::byte* record = mine.first_tile(args);
  int offsets[kWarpTiles];
  for (int j = 0; j < kWarpTiles; ++j) offsets[j] = mine.to_tile(args, j);
  float acc[kWarpPanels][kWarpTiles][4] = {};
  for (int b = 0; b < blocks; ++b, record += kGroupRecord) {
    unsigned weights[kWarpPanels][4];
    GroupScale scale[kWarpPanels][C::kHalves][2];
    QUERN_UNROLL
    for (int i = 0; i < kWarpPanels; ++i) {
      const Panel panel = mine.panel_at(i);
      load_weights<C>(panel, b, at, weights[i]);
      for (int h = 0; h < C::kHalves; ++h) {
        for (int r = 0; r < 2; ++r) scale[i][h][r] = C::scale(panel, b, at.row + 8 * r, h);
      }
    }
    Tokens<C> tokens[kWarpTiles];
    QUERN_UNROLL
    for (int j = 0; j < kWarpTiles; ++j) tokens[j].load(record + offsets[j], at);
    QUERN_UNROLL
    for (int j = 0; j < kWarpTiles; ++j) {
      QUERN_UNROLL
      for (int i = 0; i < kWarpPanels; ++i) tokens[j].add(weights[i], scale[i], acc[i][j]);
    }
  }
  mine.finish(args, at, [&](int i, int j, int r) { return acc[i][j][r]; });
}

/// How many blocks of multiply_many a multiprocessor is to hold, for which registers are given up:
/// two, but where that would push scales and minima out into memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int resident_blocks(Encoding e) { return e == Encoding::kQ2_K ? 1 : 2; }
#else
constexpr int resident_blocks(Encoding) { return 2; }
#endif

}  // namespace

#define QUERN_GROUP(name, encoding)                                            \
  QUERN_KERNEL_RESIDENT(quern_linear_few_##name, LinearArgs, 32 * kWarps, 4) { \
    multiply_few<Encoding::encoding>(args);                                    \
  }                                                                            \
  QUERN_KERNEL_RESIDENT(quern_linear_many_##name, LinearArgs, 32 * kWarps,     \
                        resident_blocks(Encoding::encoding)) {                 \
    multiply_many<Encoding::encoding>(args);                                   \
  }
QUERN_GROUP(q4_0, kQ4_0)
QUERN_GROUP(q4_1, kQ4_1)
QUERN_GROUP(q5_0, kQ5_0)
QUERN_GROUP(q5_1, kQ5_1)
QUERN_GROUP(q8_0, kQ8_0)
QUERN_GROUP(q2_k, kQ2_K)
QUERN_GROUP(q3_k, kQ3_K)
QUERN_GROUP(q4_k, kQ4_K)
QUERN_GROUP(q5_k, kQ5_K)
QUERN_GROUP(q6_k, kQ6_K)
QUERN_GROUP(iq4_nl, kIQ4_NL)
QUERN_GROUP(iq4_xs, kIQ4_XS)
QUERN_GROUP(mxfp4, kMXFP4)

}  // namespace quern::backends::cuda
