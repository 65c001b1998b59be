/// \file
/// The table of kernels: numbers on raw pointers. `scalar/` fills every slot (the oracle), each ISA
/// overwrites what it accelerates, and all agree to the bit (DESIGN.md, section 3).
///
/// Glossary: T rows of a step · N output rows of a weight · K its row length · hd head_dim.
/// Unless said otherwise pointers may not alias, need 4-byte alignment, and lengths may be any
/// number ≥ 0. No kernel allocates, locks or throws. Thread rule: pure, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quern/encoding.h"
#include "quern/kv_type.h"

namespace quern::kernels {

/// Counted up whenever an operation gives other bits for the same numbers: files say under which
/// number their self-test was made. 1: before the powers of SiLU and tanh GELU were bounded.
inline constexpr std::uint32_t kNumericsRevision = 3;

inline constexpr std::int64_t kPanelRows = 16;   ///< Output rows of a weight panel.
inline constexpr std::int64_t kRowTile = 8;      ///< Activation rows packed side by side.
inline constexpr std::int64_t kKvBlock = 64;     ///< Positions of a KV block.
inline constexpr std::int64_t kSpanBlocks = 4;   ///< KV blocks of a span of attention.
inline constexpr std::int64_t kMaxQueries = 48;  ///< Queries of one attention call.
inline constexpr std::size_t kEncodingSlots = 128;
inline constexpr std::size_t kRowFormats = 3;
inline constexpr std::size_t kKvTypes = 6;

/// Element-wise functions. All are ours (polynomials in generic/), the same bits on every ISA.
enum class Activation : std::uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu, kRelu2, kTanh, kSigmoid };
inline constexpr std::size_t kActivations = 7;

/// Packs activation rows for a linear layer. A *row tile* is kRowTile consecutive rows (the last
/// one may be smaller); tiles are independent, so threads take ranges of tiles.
///
/// kF32:       tile of w rows: [K][w] float32.
/// kQ8Group32: per 32 elements: amax, scale = amax/127, codes = rint(x · (127/amax)) (0 where amax
///             is 0), ties to even. K padded to 32 with zeros.
/// kQ8Rotated: hadamard64 (quant/registry.h) of the row padded with zeros to 64, then as above with
///             one scale for the whole row.
/// NaN or infinite input gives codes of 0 and a NaN scale, so that the output is NaN, never UB.
/// The quantized formats also hold the sums of codes per 16 elements that offset codes and minima
/// need. The exact packing is private to lib/kernels (packed_rows.h).
struct PackArgs {
  const float* x;  ///< `[rows, cols]`, row r at x + r·x_stride.
  std::int64_t x_stride;
  std::int64_t rows, cols;            ///< T and K of the whole input.
  std::int64_t tile_begin, tile_end;  ///< Row tiles to pack.
  std::byte* out;                     ///< packed_rows_bytes(), 64-byte aligned.
};

/// y[t, n] = Σ_k w[n, k] · x[t, k] (+ bias[n]) (+ y[t, n] where `accumulate`), for panels
/// [panel_begin, panel_end).
///
/// Order of arithmetic (the numerics law):
/// - float encodings: acc = fma(w, x, acc) for k = 0, 1, …, from 0.
/// - kQ8Group32 encodings, groups g of 32 (or 16) in order of k:
///   isum exact; acc = fma(float(isum), dw·dx, acc); where the encoding has a minimum,
///   then acc = fma(mw, dx·float(Σ codes of x in g), acc). dw, mw are the group's exact float32
///   scale and minimum (d·sub-scale; the minimum with its sign, so that w = dw·q + mw); dx the
///   scale of its 32 activations; all products rounded once.
/// - kQ8Rotated: the whole row is one exact int32 sum; y = float(isum) · (row_scale · x_scale).
/// - then r = acc + bias[n]; y = y + r where accumulate.
struct LinearArgs {
  const std::byte* weights;  ///< First panel of the matrix, 64-byte aligned.
  std::int64_t n, k;         ///< N and K of the matrix (unpadded).
  std::int64_t panel_begin, panel_end;
  const std::byte* x;  ///< Packed rows (same K).
  std::int64_t rows;   ///< T.
  const float* bias;   ///< `[N]` or nullptr.
  float* y;            ///< `[T, N]`, row t at y + t·y_stride. Only n < N is written.
  std::int64_t y_stride;
  bool accumulate;
  std::byte* scratch;  ///< linear_scratch_bytes(), 64-byte aligned, one per thread.
  /// Whether the last product with this scratch had the same encoding, x and rows and nothing has
  /// used it since: rows that its kernel lays out anew are then laid out already.
  bool same_rows = false;
};

/// One KV head of one layer of one sequence: keys of a block of 64 positions, values of that block,
/// then the next block; between spans of kSpanBlocks blocks other heads may lie. The layout of a
/// block is private to the kernels (kv_layout.h).
struct KvHead {
  std::byte* k;              ///< Keys of block 0.
  std::byte* v;              ///< Values of block 0.
  std::int64_t block_bytes;  ///< From a block of a span to the next.
  std::int64_t span_bytes;   ///< From a span to the next.
};

/// Stores keys and values of positions pos … pos + count − 1. q8: scale = amax/127, codes
/// rint(x·(127/amax)); q4: amax/7, codes −7…7. Coded values keep log2 of their scale (at least
/// 2^−40; the factor is then 2^40) in its place.
struct KvStoreArgs {
  KvHead head;
  std::int64_t head_dim, value_dim;
  std::int64_t pos;    ///< Absolute position ≥ 0.
  const float* key;    ///< `[count, head_dim]`, after rotary; rows key_stride apart.
  const float* value;  ///< `[count, value_dim]`; rows value_stride apart.
  std::byte* scratch;  ///< kv_store_scratch_bytes(), 64-byte aligned; of plain types none.
  std::int64_t count = 1, key_stride = 0, value_stride = 0;
};

/// Attention of up to kMaxQueries query vectors over blocks [block_begin, block_end) of one KV
/// head, from nothing. Online softmax (Milakov and Gimelshein 2018; Dao et al. 2022) in base 2.
///
/// Scores of a block, from the block alone. log2e = 1.44269504f.
/// - f32, f16, bf16: s_j = (q · k_j)·scale, fma in order of d.
/// - q8, q4: keys are stored, and queries taken, behind quant::hadamard_vector, which spreads
///   outliers (Ashkboos et al. 2024); q is quantized to int8 per vector (scale sq = amax/127); t_j
///   = float(exact sum)·sk_j; s_j = t_j·(sq·scale).
/// - s = softcap·tanh(s/softcap) where softcap > 0; s += alibi_slope[i]·(j − (end−1)), then s +=
///   bias[i][j], where given.
/// - x_j = s_j·log2e; coded: x_j = fma(s_j, log2e, λ_j), λ_j = log2 of the scale of value j; where
///   there is no cap, slope or bias, x_j = fma(t_j, (sq·scale)·log2e, λ_j).
/// Positions outside [begin[i], end[i]) count as −∞ and weigh nothing; blocks without a visible
/// position are skipped.
///
/// Weights: X = max x_j, M = fma(X, 0, X + 0) (NaN where X is not finite).
/// - plain: w_j = exp2_of(x_j − M); l_b = Σ w_j; o_b[d] = Σ fma(w_j, v_j[d]) in order of j.
/// - coded: w_j = exp2_short(max(−126, x_j − M)); l_b = Σ fma(w_j, r_j) with r_j = fma(sk_j, 0,
///   exp2_of(−λ_j)); the weights become codes c_j = rint(127·w_j) of 7 bits, o_b[d] = float(Σ
///   c_j·code_j[d]), exact. w_j is the weight times the value's scale, so the codes are fine
///   where the output needs it, whatever the norms of the values.
/// Σ of l_b: 16 virtual lanes j mod 16 in order, then the fixed tree.
///
/// Merge of a block into the state of its span (kSpanBlocks blocks of absolute positions), then of
/// spans in order into the whole: m' = max(m, M), f = exp2_of(m − m'), g = exp2_of(M − m'); l =
/// fma(l, f, l_b·g); acc[d] = fma(acc[d], f, o_b[d]·h), h = g, coded blocks g·(1/127). A state of
/// l = 0 is not merged. The start is m = −∞, l = 0, acc = 0; with sinks m = sink[i]·log2e, l = 1.
struct AttentionArgs {
  const float* const* q;   ///< n_queries pointers to `[head_dim]`.
  std::int64_t n_queries;  ///< 1 … kMaxQueries.
  std::int64_t head_dim, value_dim;
  const std::int64_t* begin;  ///< Per query: first visible position.
  const std::int64_t* end;    ///< Per query: one past the last visible position.
  KvHead head;
  std::int64_t block_begin, block_end;
  float scale;
  float softcap;             ///< 0: none.
  const float* alibi_slope;  ///< Per query, or nullptr.
  /// Per query a row by absolute position, or nullptr. Of a visible block the whole row is read.
  const float* const* bias;
  const float* sink;  ///< Per query: a score without a value, or nullptr.
  /// attention_state_floats(); private to the table's kernels.
  float* state;
  /// Each span keeps a state of its own, one after another in `state`, to be merged later; sinks
  /// are the first one's. Else all are merged into one.
  bool spans_apart;
  std::byte* scratch;  ///< attention_scratch_bytes(), 64-byte aligned.
};

/// Columns [begin, end) of a causal convolution: `rows` of one sequence, every column with its own
/// `kernel` numbers. out[t, c] begins with bias[c], or 0, and becomes fma(w[k, c], in, out) for k =
/// 0, 1, …, oldest input first; then SiLU where `silu`. The past becomes the last kernel − 1
/// inputs.
struct ConvArgs {
  std::int64_t rows, cols, kernel, begin, end;
  const float* weight;  ///< `[kernel, cols]`
  const float* bias;    ///< `[cols]` or nullptr.
  const float* x;       ///< `[rows, cols]`
  float* out;           ///< `[rows, cols]`
  float* past;          ///< `[kernel − 1, cols]`, oldest first.
  bool silu;
};

/// A state-space scan: columns of one group, `rows` of one sequence. Column p belongs to head h =
/// (offset + p)/head_dim. For every row in order, with d = step[h] and decay(a) =
/// exp2_decay((d·log2e)·a), log2e = 1.44269504f, for every number j of the column's state:
/// - own rates: s_j ← fma(decay(a_j), s_j, (d·x_p)·b_j); y = Σ.
/// - one rate: the state has a scale P, s_j·P is what it stands for. P ← P·decay(a); where that is
///   less than kScanLeastScale, s_j ← s_j·P and P ← 1; then s_j ← fma((d/P)·x_p, b_j, s_j);
///   y = P·Σ.
/// out_p = fma(skip[h], x_p, y). Σ: 0 plus, in order, the sums of every kScanSum numbers, each from
/// 0 by fma(s_j, c_j, sum) in order of j. Rates are at most 0: what others give is some number.
///
/// State: blocks of kScanColumns columns, the last one padded: `[scales and numbers,
/// kScanColumns]`. First the scale of each column where there is one rate, then numbers 0, 1, …, n
/// − 1. A state of zeros is the start.
struct ScanArgs {
  std::int64_t rows;     ///< At most kScanRows.
  std::int64_t columns;  ///< Of at most kScanHeads heads.
  std::int64_t offset;   ///< Columns of head 0 that lie before column 0; less than head_dim.
  std::int64_t head_dim, n;
  const float* a;      ///< One rate: `[heads]`. Own rates: by column, laid out as the state.
  std::int64_t rates;  ///< n, or 1: one rate for all numbers of a head.
  const float* skip;   ///< `[heads]`
  const float* step;   ///< `[rows, heads]`, row t at step + t·step_stride.
  std::int64_t step_stride;
  const float* b;  ///< `[rows, n]`, row t at b + t·b_stride.
  const float* c;  ///< The same.
  std::int64_t b_stride;
  const float* x;  ///< `[rows, columns]`, row t at x + t·x_stride.
  float* out;      ///< The same.
  std::int64_t x_stride;
  float* state;
};
inline constexpr std::int64_t kScanColumns = 16, kScanRows = 64, kScanHeads = 64, kScanSum = 8;
inline constexpr float kScanLeastScale = 2.3283064e-10f;  ///< 2⁻³²

/// The slots. Row reductions use 16 virtual lanes: lane i sums elements 16j+i in order of j (fma
/// for squares), then the tree l[i] += l[i+w] for w = 8, 4, 2, 1.
struct KernelTable {
  const char* isa = "";

  /// y = x · (1/√(Σx²/n + eps)) · weight; weight nullptr: 1. y may equal x.
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t n, float* y);
  /// y = (x − mean)·(1/√(var + eps))·weight + bias (fma last); weight, bias may be nullptr. y may
  /// equal x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps,
                     std::int64_t n, float* y);
  /// y = a + b; y may equal a or b.
  void (*add)(const float* a, const float* b, std::int64_t n, float* y);
  /// y = a · b; y may equal a or b.
  void (*mul)(const float* a, const float* b, std::int64_t n, float* y);
  /// y = s · x; y may equal x.
  void (*scale)(const float* x, float s, std::int64_t n, float* y);
  /// y = base, then y = fma(factors[j], xs[j], y) for j = 0 … count − 1; y may equal base.
  void (*mix)(const float* base, const float* const* xs, const float* factors, std::int64_t count,
              std::int64_t n, float* y);
  /// y = max(x − (mean + deviations·√var), 0), mean and var as in layer_norm; y may equal x.
  void (*cutoff)(const float* x, float deviations, std::int64_t n, float* y);
  /// y = min(max(x, −limit), limit), NaN where x is; y may equal x.
  void (*clamp)(const float* x, float limit, std::int64_t n, float* y);
  /// y = cap · tanh(x / cap); y may equal x.
  void (*softcap)(const float* x, float cap, std::int64_t n, float* y);
  /// y = log(1 + e^x), as softplus_of (generic/math.h) orders it; y may equal x.
  void (*softplus)(const float* x, std::int64_t n, float* y);
  /// y = f(x); y may equal x.
  std::array<void (*)(const float* x, std::int64_t n, float* y), kActivations> activation;
  /// y = f(gate) · up; y may equal gate or up.
  std::array<void (*)(const float* gate, const float* up, std::int64_t n, float* y), kActivations>
      glu;
  /// x ← softmax(x) over n elements, in place (max, exp, lane sum, multiply by 1/sum).
  void (*softmax)(float* x, std::int64_t n);
  /// Σ a·b over n (fma, 16 virtual lanes, tree).
  float (*dot)(const float* a, const float* b, std::int64_t n);
  /// As ConvArgs says.
  void (*causal_conv)(const ConvArgs&);
  /// As ScanArgs says.
  void (*scan)(const ScanArgs&);
  /// Rotates pairs of one head in place: halves (i, i + n/2), or neighbours (2i, 2i+1) where
  /// `interleaved`; cos and sin `[n/2]`; a' = fma(a, cos, −(b·sin)), b' = fma(b, cos, a·sin).
  void (*rope)(float* x, const float* cos, const float* sin, std::int64_t n, bool interleaved);
  /// cos and sin of pos·inv_freq[i] (float32 product, as PyTorch), times `factor`; double inside.
  void (*rope_angles)(std::int64_t pos, const float* inv_freq, std::int64_t n, float factor,
                      float* cos, float* sin);

  std::array<void (*)(const PackArgs&), kRowFormats> pack_rows;
  std::array<void (*)(const LinearArgs&), kEncodingSlots> linear;
  /// out[0…cols) = the dequantized row of a panel matrix: an embedding lookup.
  std::array<void (*)(const std::byte* weights, std::int64_t row, std::int64_t cols, float* out),
             kEncodingSlots>
      gather_row;

  std::array<void (*)(const KvStoreArgs&), kKvTypes> kv_store;
  std::array<void (*)(const AttentionArgs&), kKvTypes> attention;
  /// Merges the state of a later span of the same queries into `total`, as AttentionArgs says.
  void (*attention_merge)(std::int64_t n_queries, std::int64_t value_dim, float* total,
                          const float* span);
  /// out[i][d] = fma(acc[d], 1/l, 0) of query i; zeros where l is 0.
  void (*attention_finish)(std::int64_t n_queries, std::int64_t value_dim, const float* state,
                           float* const* out);
};

/// Bytes of packed rows, and of a thread's scratch; multiples of 64.
std::int64_t packed_rows_bytes(RowFormat format, std::int64_t rows, std::int64_t cols) noexcept;
std::int64_t linear_scratch_bytes(Encoding encoding, std::int64_t cols) noexcept;
std::int64_t attention_state_floats(std::int64_t n_queries, std::int64_t value_dim) noexcept;
std::int64_t attention_scratch_bytes(KvType type, std::int64_t head_dim,
                                     std::int64_t value_dim) noexcept;
/// Bytes of one 64-position block of keys (or of values) of one head.
std::int64_t kv_key_block_bytes(KvType type, std::int64_t head_dim) noexcept;
std::int64_t kv_value_block_bytes(KvType type, std::int64_t value_dim) noexcept;
std::int64_t kv_store_scratch_bytes(KvType type, std::int64_t head_dim) noexcept;

}  // namespace quern::kernels
