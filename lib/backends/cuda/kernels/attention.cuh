/// \file
/// Attention of one tile of queries, span by span, in the order of kernels::AttentionArgs.
///
/// A thread makes the scores of a chunk of queries at one position or four; half a warp turns a
/// block's scores of one query into weights; then 64 threads of each block of positions sum values,
/// two columns to a thread. What the blocks gave is merged in their order.
/// Of coded keys and values the products are whole numbers, which the matrix units may add in any
/// order: a warp makes the scores of 16 positions, or sums 16 columns of values block by block.
///
/// A View says where keys and values lie: kType; see(row); keys<n>(p), a reader of an element of n
/// neighbouring plain keys; values(first, d), a reader of two columns by position in a block; of
/// coded types key_pair and value_word, words of four codes, and the scales of both; adds(),
/// whether scores are more than a product, and added(query, p, s), the score with it.
#pragma once

#include "backends/cuda/kernels/attention_tile.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace quern::backends::cuda {

template <class View>
struct Attend {
  static constexpr bool kCoded = kCodedKv<View::kType>;
  const AttentionShape& shape;
  const View& view;
  const TilePlace& place;
  const TileMemory tile;
  const float* q;
  const int queries, thread;
  int begin = 0, end = 0;  ///< What any query sees.

  QUERN_DEVICE_MEMBER Attend(const AttentionShape& its_shape, const View& its_view,
                             const TilePlace& its_place, const float* all_q, unsigned char* memory)
      : shape(its_shape),
        view(its_view),
        place(its_place),
        tile(memory, kCoded, its_shape),
        q(all_q),
        queries(its_place.queries()),
        thread(static_cast<int>(threadIdx.x)) {
    if (thread < shape.tile_queries) {
      Seen seen{0, 0, 0};
      if (thread < queries) seen = view.see(place.row(thread));
      tile.begin[thread] = seen.begin;
      tile.end[thread] = seen.end;
      tile.position[thread] = seen.position;
    }
    if constexpr (kCoded) {
      for (int i = thread / 32; i < queries; i += kAttentionThreads / 32)
        code_query(i, thread % 32);
    }
    __syncthreads();
    begin = tile.begin[0];
    for (int i = 0; i < queries; ++i) {
      begin = min(begin, tile.begin[i]);
      end = max(end, tile.end[i]);
    }
  }
  QUERN_DEVICE_MEMBER int first_span() const { return begin / kSpanPositions; }
  QUERN_DEVICE_MEMBER int last_span() const { return (end + kSpanPositions - 1) / kSpanPositions; }
  QUERN_DEVICE_MEMBER int chunks() const { return (queries + kChunk - 1) / kChunk; }
  QUERN_DEVICE_MEMBER int query_stride() const {
    return kCoded ? coded_query_words(shape.head_dim) : up_to(shape.head_dim, 4);
  }
  /// Words of a coded query or key, in pairs.
  QUERN_DEVICE_MEMBER int code_pairs() const { return up_to(shape.head_dim, 8) / 8; }
  QUERN_DEVICE_MEMBER long long at(int i) const {
    return static_cast<long long>(place.row(i)) * shape.heads + place.head(i);
  }

  QUERN_DEVICE_MEMBER void load_queries() const {
    for (int i = thread / 32; i < queries; i += kAttentionThreads / 32) {
      const float* from = q + at(i) * shape.head_dim;
      for (int d = thread % 32; d < shape.head_dim; d += 32)
        tile.q[i * query_stride() + d] = from[d];
    }
  }
  /// The codes of a query, by a warp.
  QUERN_DEVICE_MEMBER void code_query(int i, int lane) const {
    const float* from = q + at(i) * shape.head_dim;
    const CodeRule rule = rotated_rule(from, shape.head_dim, 127.0f, lane);
    auto* codes = reinterpret_cast<signed char*>(tile.q + i * query_stride());
    for (int b = 0; 64 * b < shape.head_dim; ++b) {
      float v[2];
      rotated_block(from, shape.head_dim, b, lane, v);
      for (int h = 0; h < 2; ++h) {
        const int d = 64 * b + 32 * h + lane;
        if (d < 8 * code_pairs()) codes[d] = static_cast<signed char>(code_of(v[h], rule.factor));
      }
    }
    if (lane == 0) tile.unit[i] = rule.scale * shape.scale;
  }

  /// Σ q·k of a chunk's queries at n neighbouring positions from p on, in order of d.
  template <int n>
  QUERN_DEVICE_MEMBER void products(int chunk, int p, float (&s)[kChunk][n]) const {
    const float* rows = tile.q + chunk * kChunk * query_stride();
    const auto keys = view.template keys<n>(p);
    int d = 0;
    for (; d + 4 <= shape.head_dim; d += 4) {
      float k[4][n];
      QUERN_UNROLL
      for (int c = 0; c < 4; ++c) keys(d + c, k[c]);
      QUERN_UNROLL
      for (int r = 0; r < kChunk; ++r) {
        const float4 four = *reinterpret_cast<const float4*>(rows + r * query_stride() + d);
        QUERN_UNROLL
        for (int j = 0; j < n; ++j) {
          s[r][j] = __fmaf_rn(four.y, k[1][j], __fmaf_rn(four.x, k[0][j], s[r][j]));
          s[r][j] = __fmaf_rn(four.w, k[3][j], __fmaf_rn(four.z, k[2][j], s[r][j]));
        }
      }
    }
    for (; d < shape.head_dim; ++d) {
      float k[n];
      keys(d, k);
      for (int r = 0; r < kChunk; ++r) {
        for (int j = 0; j < n; ++j)
          s[r][j] = __fmaf_rn(rows[r * query_stride() + d], k[j], s[r][j]);
      }
    }
    for (int r = 0; r < kChunk; ++r) {
      for (int j = 0; j < n; ++j) s[r][j] = s[r][j] * shape.scale;
    }
  }
  /// Scores of 16 positions from p on, `at` in their span, by a warp: 16 keys by 8 queries at a
  /// time.
  QUERN_DEVICE_MEMBER void score_codes(int p, int at) const {
    constexpr int kTiles = kMostQueries / 8;
    const Place lane;
    const auto* codes = reinterpret_cast<const unsigned*>(tile.q);
    int sums[kTiles][4] = {};
    for (int first = 0; first < code_pairs(); first += 4) {
      const int u = first + lane.four;
      const bool has = u < code_pairs();
      const uint2 low = has ? view.key_pair(p + lane.row, u) : uint2{0, 0};
      const uint2 high = has ? view.key_pair(p + lane.row + 8, u) : uint2{0, 0};
      const unsigned keys[4] = {low.x, high.x, low.y, high.y};
      QUERN_UNROLL
      for (int j = 0; j < kTiles; ++j) {
        if (8 * j >= queries) break;
        const int i = min(8 * j + lane.row, queries - 1);
        const auto* query = reinterpret_cast<const uint2*>(codes + i * query_stride() + 2 * u);
        const uint2 pair = has ? *query : uint2{0, 0};
        const unsigned words[2] = {pair.x, pair.y};
        mma_s8(sums[j], keys, words);
      }
    }
    QUERN_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      QUERN_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int i = 8 * j + lane.result_column(r), of = lane.result_row(r);
        if (i >= queries || p + of < tile.begin[i] || p + of >= tile.end[i]) continue;
        const float t = static_cast<float>(View::code_sum(sums[j][r])) * view.key_scale(p + of);
        tile.score(i, at + of) = exponent(i, p + of, t);
      }
    }
  }

  /// x of query i at position p, from its product.
  QUERN_DEVICE_MEMBER float exponent(int i, int p, float s) const {
    const bool plain_score = !(shape.softcap > 0.0f) && !view.adds();
    if constexpr (kCoded) {
      const float unit = tile.unit[i];
      if (plain_score) return __fmaf_rn(s, unit * kLog2E, view.value_exponent(p));
      s = s * unit;
    }
    if (shape.softcap > 0.0f) s = shape.softcap * kernels::tanh_of(Lane{s / shape.softcap}).v;
    if (!plain_score) s = view.added({place.row(i), place.head(i), tile.position[i]}, p, s);
    if constexpr (kCoded) return __fmaf_rn(s, kLog2E, view.value_exponent(p));
    return s * kLog2E;
  }
  /// Few queries: a position to a thread. More: four neighbours of each, and a chunk of queries to
  /// 64 threads, so that every key that is read serves sixteen products.
  QUERN_DEVICE_MEMBER void score(int span) const {
    const int first = span * kSpanPositions;
    if constexpr (kCoded) {
      for (int at = thread / 32 * 16; at < kSpanPositions; at += kAttentionThreads / 2) {
        if (first + at + 16 > begin && first + at < end) score_codes(first + at, at);
      }
    } else if (queries <= kChunk) {
      score_at<1>(0, first, thread);
    } else if (thread / 64 < chunks()) {
      score_at<4>(thread / 64, first, thread % 64 * 4);
    }
  }
  /// Positions `at` … at + n − 1 of the span that begins at `first`.
  template <int n>
  QUERN_DEVICE_MEMBER void score_at(int chunk, int first, int at) const {
    const int p = first + at;
    if (p + n <= begin || p >= end) return;
    float s[kChunk][n] = {};
    products(chunk, p, s);
    QUERN_UNROLL
    for (int r = 0; r < kChunk; ++r) {
      const int i = chunk * kChunk + r;
      if (i >= queries) break;
      QUERN_UNROLL
      for (int j = 0; j < n; ++j) {
        if (p + j >= tile.begin[i] && p + j < tile.end[i])
          tile.score(i, at + j) = exponent(i, p + j, s[r][j]);
      }
    }
  }

  /// Turns x into weights, half a warp for a query and block.
  QUERN_DEVICE_MEMBER void weigh(int span) const {
    const int lane = thread % 16;
    for (int item = thread / 16; item < 4 * kChunk * chunks(); item += kAttentionThreads / 16)
      weigh_block(span, item / 4, item % 4, lane);
  }
  QUERN_DEVICE_MEMBER void weigh_block(int span, int i, int b, int lane) const {
    const int first = span * kSpanPositions + b * kBlockPositions;
    const Visible visible(tile, i, first);
    float x[4], top = lowest();
    for (int k = 0; k < 4; ++k) {
      const int j = lane + 16 * k;
      x[k] = visible.has(j) ? tile.score(i, b * kBlockPositions + j) : lowest();
      if (top < x[k]) top = x[k];
    }
    for (int w = 8; w >= 1; w /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, top, w, 16);
      if (top < other) top = other;
    }
    const float reference = __fmaf_rn(top, 0.0f, top + 0.0f);
    float sum = 0.0f;
    for (int k = 0; k < 4; ++k) {
      const int j = lane + 16 * k;
      weigh_position(visible.has(j), i, b * kBlockPositions + j, first + j, x[k] - reference, sum);
    }
    sum = tree_sum(sum);
    if (lane != 0) return;
    tile.top[4 * i + b] = reference;
    tile.sum[4 * i + b] = sum;
  }
  /// \param at the position in the span; \param p the absolute one.
  QUERN_DEVICE_MEMBER void weigh_position(bool visible, int i, int at, int p, float below,
                                          float& sum) const {
    if constexpr (kCoded) {
      unsigned code = 0;
      if (visible) {
        const float w = kernels::exp2_short(Lane{-126.0f < below ? below : -126.0f}).v;
        const float r =
            __fmaf_rn(view.key_scale(p), 0.0f, exp2_lane(0.0f - view.value_exponent(p)));
        sum = __fmaf_rn(w, r, sum);
        code = __float_as_uint(__fmaf_rn(w, 127.0f, kMagic)) & 127u;
      }
      tile.code(i, at) = static_cast<unsigned char>(code);
    } else {
      const float w = visible ? exp2_lane(below) : 0.0f;
      if (visible) sum = sum + w;
      tile.score(i, at) = w;
    }
  }

  /// Blocks [x, y) of a span that query i sees.
  QUERN_DEVICE_MEMBER int2 blocks_of(int span, int i) const {
    const int first = span * kSpanPositions;
    const int from = max(tile.begin[i] - first, 0), to = min(tile.end[i] - first, kSpanPositions);
    if (from >= to) return {0, 0};
    return {from / kBlockPositions, (to + kBlockPositions - 1) / kBlockPositions};
  }
  /// How the blocks of a span are merged, and the span into the whole; a query to a thread.
  QUERN_DEVICE_MEMBER void merge_numbers(int span) const {
    const int i = thread;
    if (i >= queries) return;
    float m = lowest(), l = 0.0f;
    const int2 blocks = blocks_of(span, i);
    for (int b = blocks.x; b < blocks.y; ++b) {
      MergeFactors factors = merge_state(m, l, tile.top[4 * i + b], tile.sum[4 * i + b]);
      if constexpr (kCoded) factors.add = factors.add * (1.0f / 127.0f);
      tile.factors[4 * i + b] = factors;
    }
    tile.span_m[i] = m;
    tile.span_l[i] = l;
    if (l != 0.0f) tile.into[i] = merge_state(tile.m[i], tile.l[i], m, l);
  }

  /// What each block of positions gives a chunk's queries, 64 threads a block, columns to threads.
  QUERN_DEVICE_MEMBER void sum_values(int span, int chunk) const {
    const int b = thread / kBlockPositions;
    const int first = span * kSpanPositions + b * kBlockPositions;
    int from = kBlockPositions, to = 0;
    for (int r = 0; r < kChunk && chunk * kChunk + r < queries; ++r) {
      const Visible visible(tile, chunk * kChunk + r, first);
      if (visible.from >= visible.to) continue;
      from = min(from, visible.from);
      to = max(to, visible.to);
    }
    for (int d = thread % kBlockPositions * 2; d < shape.value_dim; d += 2 * kBlockPositions) {
      float2 o[kChunk] = {};
      if (from < to) plain_values(chunk, b, first, from, to, d, o);
      for (int r = 0; r < kChunk; ++r) {
        float* part = tile.part + (b * kChunk + r) * shape.value_dim + d;
        part[0] = o[r].x;
        if (d + 1 < shape.value_dim) part[1] = o[r].y;
      }
    }
  }
  /// Columns d and d + 1; the second one may be padding.
  QUERN_DEVICE_MEMBER void plain_values(int chunk, int b, int first, int from, int to, int d,
                                        float2 (&o)[kChunk]) const {
    const float4* weights =
        reinterpret_cast<const float4*>(tile.scores) + chunk * kSpanPositions + b * kBlockPositions;
    const auto columns = view.values(first, d);
    bool all = true;
    for (int r = 0; r < kChunk && chunk * kChunk + r < queries; ++r) {
      const Visible visible(tile, chunk * kChunk + r, first);
      all = all && visible.from == from && visible.to == to;
    }
    if (all) return full_values(columns, weights, from, to, o);
    // A position that a query does not see may hold anything: it must not even be multiplied by 0.
    for (int j = from; j < to; ++j) {
      const float2 v = columns(j);
      const float4 four = weights[j];
      const float w[kChunk] = {four.x, four.y, four.z, four.w};
      QUERN_UNROLL
      for (int r = 0; r < kChunk; ++r) {
        const int i = min(chunk * kChunk + r, queries - 1);
        if (Visible(tile, i, first).has(j)) add_value(w[r], v, o[r]);
      }
    }
  }
  /// All queries of the chunk see positions [from, to). Eight loads are under way at a time.
  template <class Columns>
  static QUERN_DEVICE_MEMBER void full_values(const Columns& columns, const float4* weights,
                                              int from, int to, float2 (&o)[kChunk]) {
    int j = from;
    for (; j + 8 <= to; j += 8) {
      float2 v[8];
      QUERN_UNROLL
      for (int k = 0; k < 8; ++k) v[k] = columns(j + k);
      QUERN_UNROLL
      for (int k = 0; k < 8; ++k) add_values(weights[j + k], v[k], o);
    }
    for (; j < to; ++j) add_values(weights[j], columns(j), o);
  }
  static QUERN_DEVICE_MEMBER void add_value(float w, const float2& v, float2& o) {
    o.x = __fmaf_rn(w, v.x, o.x);
    o.y = __fmaf_rn(w, v.y, o.y);
  }
  static QUERN_DEVICE_MEMBER void add_values(const float4& w, const float2& v,
                                             float2 (&o)[kChunk]) {
    add_value(w.x, v, o[0]);
    add_value(w.y, v, o[1]);
    add_value(w.z, v, o[2]);
    add_value(w.w, v, o[3]);
  }
  /// Sums and merges coded values, 16 columns of 8 queries to a warp; \param visit as merge_values
  /// has it. A position that a query does not see has the weight 0.
  template <class Visit>
  QUERN_DEVICE_MEMBER void merge_codes(int span, Visit visit) const {
    const Place lane;
    const int tiles = (queries + 7) / 8, columns = up_to(shape.value_dim, 16);
    for (int item = thread / 32; item < columns / 16 * tiles; item += kAttentionThreads / 32) {
      const int first = item % tiles * 8, column = item / tiles * 16;
      float acc[4] = {};
      for (int b = 0; b < kSpanOfBlocks; ++b) {
        const int p = span * kSpanPositions + b * kBlockPositions;
        if (p + kBlockPositions <= begin || p >= end) continue;
        int sums[4] = {};
        sum_codes(p, b, first, column, sums);
        QUERN_UNROLL
        for (int r = 0; r < 4; ++r) {
          const int i = first + lane.result_column(r);
          if (i >= queries || !Visible(tile, i, p).any()) continue;
          const MergeFactors factors = tile.factors[4 * i + b];
          const float o = static_cast<float>(View::code_sum(sums[r]));
          acc[r] = __fmaf_rn(acc[r], factors.keep, o * factors.add);
        }
      }
      QUERN_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int i = first + lane.result_column(r), d = column + lane.result_row(r);
        if (i < queries && d < shape.value_dim) visit(i, d, acc[r]);
      }
    }
  }
  /// Σ weight · value of the block of positions from p on, number b of its span: 16 columns from
  /// `column` on, 8 queries from `first` on.
  QUERN_DEVICE_MEMBER void sum_codes(int p, int b, int first, int column, int (&sums)[4]) const {
    const Place lane;
    const int d = column + lane.row, at = b * kBlockPositions;
    const int i = min(first + lane.row, queries - 1);
    QUERN_UNROLL
    for (int four = lane.four; four < kBlockPositions / 4; four += 8) {
      const unsigned values[4] = {view.value_word(p, four, d), view.value_word(p, four, d + 8),
                                  view.value_word(p, four + 4, d),
                                  view.value_word(p, four + 4, d + 8)};
      const unsigned weights[2] = {tile.code_word(i, at + 4 * four),
                                   tile.code_word(i, at + 4 * four + 16)};
      mma_s8(sums, values, weights);
    }
  }

  /// Merges what the blocks gave; \param visit takes (query, column, acc of the span).
  template <class Visit>
  QUERN_DEVICE_MEMBER void merge_values(int span, int chunk, Visit visit) const {
    for (int e = thread; e < kChunk * shape.value_dim; e += kAttentionThreads) {
      const int r = e / shape.value_dim, d = e % shape.value_dim, i = chunk * kChunk + r;
      if (i >= queries) break;
      const int2 blocks = blocks_of(span, i);
      float acc = 0.0f;
      for (int b = blocks.x; b < blocks.y; ++b) {
        const MergeFactors factors = tile.factors[4 * i + b];
        const float o = tile.part[(b * kChunk + r) * shape.value_dim + d];
        acc = __fmaf_rn(acc, factors.keep, o * factors.add);
      }
      visit(i, d, acc);
    }
  }

  /// One span. All threads of the block call.
  template <class Visit>
  QUERN_DEVICE_MEMBER void attend_span(int span, Visit visit) const {
    if constexpr (!kCoded) {
      load_queries();  // What blocks of the span before gave lay in their place.
      __syncthreads();
    }
    score(span);
    __syncthreads();
    weigh(span);
    __syncthreads();
    merge_numbers(span);
    if constexpr (kCoded) {
      __syncthreads();
      merge_codes(span, visit);
      __syncthreads();
    } else {
      for (int chunk = 0; chunk < chunks(); ++chunk) {
        sum_values(span, chunk);
        __syncthreads();
        merge_values(span, chunk, visit);
        __syncthreads();
      }
    }
  }

  /// All spans in order, and the results. \param sink per head, or nullptr.
  QUERN_DEVICE_MEMBER void attend_all(const float* sink, float* out) const {
    if (thread < queries) {
      tile.m[thread] = sink == nullptr ? lowest() : sink[place.head(thread)] * kLog2E;
      tile.l[thread] = sink == nullptr ? 0.0f : 1.0f;
    }
    for (int e = thread; e < queries * shape.value_dim; e += kAttentionThreads)
      out[at(e / shape.value_dim) * shape.value_dim + e % shape.value_dim] = 0.0f;
    __syncthreads();
    for (int span = first_span(); span < last_span(); ++span) {
      attend_span(span, [&](int i, int d, float acc) {
        if (tile.span_l[i] == 0.0f) return;
        float& whole = out[at(i) * shape.value_dim + d];
        whole = __fmaf_rn(whole, tile.into[i].keep, acc * tile.into[i].add);
      });
    }
    for (int e = thread; e < queries * shape.value_dim; e += kAttentionThreads) {
      const int i = e / shape.value_dim;
      float& whole = out[at(i) * shape.value_dim + e % shape.value_dim];
      whole = finished(whole, tile.l[i]);
    }
  }
};

}  // namespace quern::backends::cuda
