/// \file
/// The tile of queries that a block attends with: which rows and heads, its shared memory, and how
/// states are merged.
#pragma once

#include "backends/cuda/kernels/attention_args.h"
#include "backends/cuda/kernels/kv_state.cuh"
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kMagic = 12582912.0f;  // 1.5·2²³: adding it rounds to an integer.
inline constexpr unsigned kLowestBits = 0xff800000u;

QUERN_DEVICE float lowest() { return __uint_as_float(kLowestBits); }
QUERN_DEVICE float exp2_lane(float x) { return kernels::exp2_of(Lane{x}).v; }

/// One query: where it stands and what it sees.
struct Query {
  int row, head, position;
};

QUERN_DEVICE float distance_bias(const DistanceArgs& bias, const Query& query, int p) {
  return bias.values[query.head * bias.stride + bias.back + p - query.position];
}

/// Positions that a row sees.
struct Seen {
  int begin, end, position;
};

/// The rows and heads of a block. Empty where the block has no work.
struct TilePlace {
  int sequence = 0, first_row = 0, rows = 0, kv_head = 0, first_head = 0, heads = 0;

  QUERN_DEVICE_MEMBER int queries() const { return rows * heads; }
  QUERN_DEVICE_MEMBER int row(int i) const { return first_row + i / heads; }
  QUERN_DEVICE_MEMBER int head(int i) const { return first_head + i % heads; }
};

/// Sequence s has the tiles from number first_row(s) / tile_rows + s on: its last one may be
/// ragged, and numbers without a tile have no work. So the grid depends on counts alone.
template <class FirstRow>
QUERN_DEVICE TilePlace place_tile(const AttentionShape& shape, int sequences, FirstRow first_row) {
  const int tile_rows = shape.tile_rows(), number = static_cast<int>(blockIdx.x);
  TilePlace at;
  at.sequence = part_of(number, sequences, [&](int s) { return first_row(s) / tile_rows + s; });
  const int first = first_row(at.sequence), end = first_row(at.sequence + 1);
  at.first_row = first + (number - first / tile_rows - at.sequence) * tile_rows;
  at.rows = max(0, min(tile_rows, end - at.first_row));
  at.kv_head = static_cast<int>(blockIdx.y) / shape.chunks();
  const int chunk = static_cast<int>(blockIdx.y) % shape.chunks() * shape.chunk_heads;
  at.first_head = at.kv_head * shape.group() + chunk;
  at.heads = min(shape.chunk_heads, shape.group() - chunk);
  return at;
}

/// What a state of (m, l, acc) and another to be merged into it are multiplied with.
struct MergeFactors {
  float keep, add;
};

/// Merges m and l; \return the factors of acc.
QUERN_DEVICE MergeFactors merge_state(float& m, float& l, float m_b, float l_b) {
  const float top = m < m_b ? m_b : m;
  const float f = exp2_lane(m - top), g = exp2_lane(m_b - top);
  l = __fmaf_rn(l, f, l_b * g);
  m = top;
  return {f, g};
}

QUERN_DEVICE float finished(float acc, float l) {
  const float r = 1.0f / l;
  return l == 0.0f ? 0.0f : __fmaf_rn(acc, r, 0.0f);
}

/// The shared memory of a block, by query i and block b of the span.
struct TileMemory {
  float* q;               ///< `[queries][stride]`; coded: words of codes.
  float* part;            ///< `[4 blocks][chunk][value_dim]`, over the queries.
  float* scores;          ///< `[chunks][256][kChunk]`: x, then w.
  unsigned char* codes;   ///< `[queries][256]` of coded weights.
  float* top;             ///< `[queries][4]`: M of each block.
  float* sum;             ///< l of each block.
  MergeFactors* factors;  ///< `[queries][4]`
  MergeFactors* into;     ///< `[queries]`: of the span into the whole.
  float *span_m, *span_l, *m, *l, *unit;
  int *begin, *end, *position;

  QUERN_DEVICE_MEMBER TileMemory(unsigned char* base, bool coded, const AttentionShape& shape) {
    const AttentionMemory memory(coded, shape);
    const int n = shape.tile_queries;
    q = part = reinterpret_cast<float*>(base);
    scores = reinterpret_cast<float*>(base + memory.scores);
    codes = base + memory.codes;
    top = reinterpret_cast<float*>(base + memory.numbers);
    sum = top + 4 * n;
    factors = reinterpret_cast<MergeFactors*>(sum + 4 * n);
    into = factors + 4 * n;
    span_m = reinterpret_cast<float*>(into + n);
    span_l = span_m + n;
    m = span_l + n;
    l = m + n;
    unit = l + n;
    begin = reinterpret_cast<int*>(unit + n);
    end = begin + n;
    position = end + n;
  }
  QUERN_DEVICE_MEMBER float& score(int i, int p) const {
    return scores[(i / kChunk * kSpanPositions + p) * kChunk + i % kChunk];
  }
  QUERN_DEVICE_MEMBER unsigned char& code(int i, int p) const {
    return codes[((i / kChunk * kSpanPositions + p / 4 * 4) + i % kChunk) * 4 + p % 4];
  }
  /// Codes of positions p … p + 3, p a multiple of 4.
  QUERN_DEVICE_MEMBER unsigned code_word(int i, int p) const {
    return *reinterpret_cast<const unsigned*>(&code(i, p));
  }
};

/// Positions [from, to) of a block that a query sees.
struct Visible {
  int from, to;
  QUERN_DEVICE_MEMBER Visible(const TileMemory& tile, int i, int first)
      : from(max(tile.begin[i] - first, 0)), to(min(tile.end[i] - first, kBlockPositions)) {}
  QUERN_DEVICE_MEMBER bool has(int j) const { return j >= from && j < to; }
  QUERN_DEVICE_MEMBER bool any() const { return from < to; }
};

}  // namespace quern::backends::cuda
