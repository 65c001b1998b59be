/// \file
/// Arguments of attention: shared by the processor's side and the device's.
///
/// A block takes a tile: rows of one sequence times query heads of one KV head, up to
/// AttentionShape::tile_queries of them. It computes spans of 256 positions, each from nothing as
/// kernels::AttentionArgs has it: either one, whose states `partials` then keeps for
/// AttentionMergeArgs, or all of them in order, and finishes.
#pragma once

#include <algorithm>

#include "backends/cuda/kernels/state_args.h"

namespace quern::backends::cuda {

inline constexpr std::uint32_t kAttentionThreads = 256;
inline constexpr int kMostQueries = 16;  ///< Of a tile; a multiple of kChunk.
inline constexpr int kChunk = 4;         ///< Queries that a thread has in registers.
inline constexpr int kSpanOfBlocks = 4;

/// What is common to a tile's queries.
struct AttentionShape {
  std::int32_t heads, kv_heads, head_dim, value_dim;
  std::int32_t tile_queries;  ///< A multiple of kChunk, at most kMostQueries.
  std::int32_t chunk_heads;   ///< Heads of a KV head in a tile; more are several chunks.
  std::int32_t window;        ///< 0: none.
  std::int32_t causal;        ///< 1: no row sees what comes after it.
  float scale, softcap;

  constexpr std::int32_t group() const { return heads / kv_heads; }
  constexpr std::int32_t chunks() const { return (group() + chunk_heads - 1) / chunk_heads; }
  constexpr std::int32_t tile_rows() const { return std::max(1, tile_queries / chunk_heads); }
};

/// By distance, for every head (backends/relative_positions.h): of a query at `position` and a key
/// at p the number `back` + p − position.
struct DistanceArgs {
  const float* values;  ///< `[heads, stride]`, nullptr: none.
  std::int64_t back, stride;
};

struct AttentionArgs {
  StepArrays arrays;
  StateArgs state;
  AttentionShape shape;
  DistanceArgs bias;
  const float* q;      ///< `[T, heads·head_dim]`
  const float* slope;  ///< Per head, or nullptr.
  const float* sink;   ///< Per head, or nullptr.
  float* out;          ///< `[T, heads·value_dim]`
  float* partials;     ///< `[T, heads, spans, value_dim + 2]`: acc, m, l; nullptr: spans in order.
  std::int32_t rows, spans;
};

/// Merges the spans of every (row, head) in order and finishes; a block for each.
struct AttentionMergeArgs {
  AttentionArgs of;
};
inline constexpr std::uint32_t kMergeThreads = 64;

/// Attention without a cache, among the rows of each sequence.
struct EncoderAttentionArgs {
  AttentionShape shape;
  DistanceArgs bias;
  const std::int32_t* starts;  ///< `[sequences + 1]`
  const float* q;              ///< All `[T, heads·head_dim]`.
  const float* k;
  const float* v;
  float* out;
  const float* position_keys;     ///< `[2·position_span, heads·head_dim]`, or nullptr.
  const float* position_queries;  ///< The same.
  const std::int32_t* buckets;    ///< Position of query − key, `bucket_back` ones before 0.
  std::int32_t bucket_back, sequences;
};

/// From one coded query to the next in shared memory: lanes that read pairs of words of eight
/// queries are to meet every bank once.
constexpr std::int32_t coded_query_words(std::int32_t head_dim) {
  return ((head_dim + 7) / 8 * 2 + 7) / 16 * 16 + 8;
}

/// Where a block's shared memory has its parts, in bytes.
struct AttentionMemory {
  std::int32_t scores, codes, numbers, end;

  /// The queries, or of plain types later what blocks of positions gave a chunk, come first.
  constexpr AttentionMemory(bool coded, const AttentionShape& shape) {
    const std::int32_t n = shape.tile_queries;
    const std::int32_t queries = n * ((shape.head_dim + 3) / 4 * 16);
    const std::int32_t parts = kSpanOfBlocks * kChunk * shape.value_dim * 4;
    scores = coded ? n * coded_query_words(shape.head_dim) * 4 : std::max(queries, parts);
    codes = scores + n * 256 * 4;
    numbers = codes + (coded ? n * 256 : 0);
    end = numbers + n * kNumbers * 4;
  }
  /// Words that every query has besides.
  static constexpr std::int32_t kNumbers = 4 * kSpanOfBlocks + 10;
};

}  // namespace quern::backends::cuda
