/// \file
/// A model as a list of typed operations on named values. Built once per model, independent of any
/// backend; T, the number of rows of a step, stays symbolic. An encoder–decoder is two graphs: that
/// of its source has no states but the decoder's source states, under the same numbers.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "quant/tensor_view.h"
#include "quern/result.h"

namespace quern::graph {

using ValueId = std::int32_t;   ///< Index into Graph::values.
using WeightId = std::int32_t;  ///< Index into Graph::weights.
using StateId = std::int32_t;   ///< Index into Graph::states.
inline constexpr std::int32_t kNone = -1;

/// How many rows a value has.
enum class Rows : std::uint8_t {
  kStep,      ///< T: one per row of the step.
  kOutput,    ///< One per row whose output was asked for (≤ T).
  kSequence,  ///< One per sequence that begins in the step (≤ T).
  kConstant,  ///< Value::count, a function of the weights alone: computed in a program's first
              ///< step.
};

/// A float32 activation `[rows, cols]`, row-major.
struct Value {
  std::string name;
  Rows rows = Rows::kStep;
  std::int64_t cols = 0;
  std::int64_t count = 0;  ///< Number of rows where that is constant.
};

struct Weight {
  std::string name;
  quant::TensorView view;
};

/// Keys and values of one attention layer, per sequence.
struct KvState {
  std::int64_t n_kv_heads, head_dim, value_dim;
  std::int64_t window;  ///< 0: all positions; else only the last `window` are ever visible.
  /// Of the source that another graph has read (StoreSourceOp), not of the sequence's own rows.
  bool source = false;
};

/// Numbers of a sequence that every row of it changes; all zero before the first row.
struct RollingState {
  std::int64_t floats;
};

enum class Activation : std::uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu, kRelu2, kTanh, kSigmoid };

// ---- The ops. Shapes: T rows; each struct names its inputs; `out` is in Node. ----

/// out[t] = scale · table[token(t)]; table `[vocab, dim]`. A smaller table has row 0 for the tokens
/// beyond it. With `first` ≥ 0 a row takes the token before its own, and the first row of a
/// sequence this one: what a decoder is taught a text with.
struct EmbeddingOp {
  WeightId table;
  float scale = 1.0F;
  std::int64_t first = -1;
};
/// out[t] = table[position(t) + offset]; table `[rows, dim]`, whose last row stands for every
/// position beyond it.
struct PositionEmbeddingOp {
  WeightId table;
  std::int64_t offset = 0;
};
/// out[t] = sin(position(t)·f_i) for i = 0 … n − 1, then cos of the same; n = dim / 2, f_i =
/// 10000^(−i/n) (Vaswani et al. 2017, "Attention Is All You Need", section 3.5, halves in the place
/// of neighbours).
struct SinusoidOp {
  std::int64_t dim;
};
/// out[t] = table[type(t)]: the token's type (segment); table `[types, dim]`.
struct TypeEmbeddingOp {
  WeightId table;
};
/// All rows of a table as a constant value `[entries, dim]`.
struct ConstantRowsOp {
  WeightId table;
};
/// out = x·wᵀ (+ bias) (+ residual); w `[N, K]`, x `[T, K]`, residual `[T, N]`.
struct LinearOp {
  ValueId x;
  WeightId weight;
  WeightId bias = kNone;
  ValueId residual = kNone;
};
/// Root-mean-square norm over groups of `group` columns (the whole row, or each head); weight
/// `[group]`, or `[cols]` where every group has its own.
struct RmsNormOp {
  ValueId x;
  WeightId weight;
  float eps;
  std::int64_t group;
};
/// Layer norm over groups of `group` columns; weight, bias as RmsNormOp's.
struct LayerNormOp {
  ValueId x;
  WeightId weight;
  WeightId bias = kNone;
  float eps = 0;
  std::int64_t group = 0;
};
/// out `[T, 2·n]`: cos, then sin, of position · inv_freq[i], times `factor`. A row of a sequence
/// that is longer than `long_after` > 0 (StepBinding::lengths) takes `long_inv_freq` instead.
struct RopeAnglesOp {
  std::vector<float> inv_freq;
  float factor = 1.0F;
  std::vector<float> long_inv_freq = {};
  std::int64_t long_after = 0;
};
/// Rotates the first 2·n columns of every head of x `[T, n_heads·head_dim]`, n from `angles`.
struct RopeOp {
  ValueId x, angles;
  std::int64_t head_dim;
  bool interleaved = false;
};
/// Gives every head of x `[T, n·head_dim]` one more column: position · slope, both and their
/// product rounded to bfloat16, or 1 where there are no slopes; out `[T, n·(head_dim + 1)]`. A
/// query's ones times a key's slopes add ALiBi to the scores as Falcon rounds it.
struct PositionColumnOp {
  ValueId x;
  std::int64_t head_dim;
  std::vector<float> slopes = {};  ///< Per head, or empty.
};
/// Every head of out `[T, n·(a_dim + b_dim)]` is a head of a, then one of b; b `[T, n·b_dim]`. An a
/// `[T, a_dim]` is every head's.
struct JoinHeadsOp {
  ValueId a, b;
  std::int64_t a_dim, b_dim;
};
/// Added to the score of a query and a key by their distance alone; `table` is
/// `[n_buckets, n_heads]` (Raffel et al. 2020, "T5", section 2.1: half of the buckets are single
/// distances, the others grow logarithmically up to `max_distance`).
struct RelativeBias {
  WeightId table = kNone;
  std::int64_t n_buckets = 0, max_distance = 0;
  bool bidirectional = true;  ///< Half of the buckets for keys after the query.
};
/// Scaled dot-product attention with cache: appends k and v at the rows' positions, then attends.
/// q `[T, n_heads·head_dim]`, k `[T, n_kv_heads·head_dim]`, v `[T, n_kv_heads·value_dim]`, out
/// `[T, n_heads·value_dim]`. Causal; window w: a row sees itself and w − 1 before it. With k and v
/// kNone it appends nothing and reads what an earlier node has appended to the state.
struct AttentionOp {
  ValueId q, k, v;
  StateId state;
  std::int64_t n_heads;
  float scale;
  float softcap = 0.0F;
  /// Per head: slope · (key's position − query's) is added to the scores (Press et al. 2022,
  /// "Train Short, Test Long"); empty: nothing.
  std::vector<float> alibi_slopes = {};
  /// `[n_heads]`: a score that takes part in each head's softmax and has no value; kNone: none.
  WeightId sinks = kNone;
  RelativeBias bias = {};
};
/// Appends k and v, of rows of a source, to a state of the sequence that will attend to them.
/// Shapes as AttentionOp's; makes no value.
struct StoreSourceOp {
  ValueId k, v;
  StateId state;
};
/// Attention to all rows of the sequence's source: q `[T, n_heads·head_dim]`, out
/// `[T, n_heads·value_dim]`.
struct CrossAttentionOp {
  ValueId q;
  StateId state;
  std::int64_t n_heads;
  float scale;
};
/// Disentangled attention (He et al. 2021, "DeBERTa", eq. 4; v2's log buckets): query·`keys` and
/// `queries`·key, each row of them a relative position −span … span − 1. Scaled like the scores.
struct Disentangled {
  ValueId keys = kNone, queries = kNone;  ///< Constant `[2·span, n_heads·head_dim]`, or kNone.
  std::int64_t n_buckets = 0;             ///< 0: distances are used as they are.
  std::int64_t max_distance = 0;
};
/// Attention among the rows of each sequence, which must lie in the step as a whole: no cache.
/// Every row sees its whole sequence, or where `window` > 0 rows at most `window` away, on both
/// sides; where it is `causal`, none after itself. Shapes as AttentionOp's; with `disentangled`
/// there are as many heads of keys as of queries.
struct EncoderAttentionOp {
  ValueId q, k, v;
  std::int64_t n_heads;
  float scale;
  std::int64_t window = 0;
  RelativeBias bias = {};
  Disentangled disentangled = {};
  bool causal = false;
};
enum class Pooling : std::uint8_t { kFirst, kMean, kLast };
/// One row per sequence: its first, the mean of all, or its last.
struct PoolOp {
  ValueId x;
  Pooling pooling;
};
/// out = f(gate) · up.
struct GluOp {
  ValueId gate, up;
  Activation activation;
};
/// How a router's scores become weights.
enum class Scoring : std::uint8_t { kSoftmax, kSigmoid };
/// Chooses `n_used` of the experts whose scores are x `[T, n_experts]`: out `[T, 2·n_used]`, first
/// their numbers, best first, then their weights (Shazeer et al. 2017, "Outrageously Large Neural
/// Networks"). `bias` `[n_experts]` is added for the choice alone. With groups, only experts of the
/// best `n_used_groups` of `n_groups` equal groups of neighbours are in the choice.
struct RouteOp {
  ValueId x;
  std::int64_t n_used;
  Scoring scoring = Scoring::kSoftmax;
  bool normalise = false;  ///< Divides the weights by their sum.
  float scale = 1.0F;      ///< Of the weights.
  WeightId bias = kNone;
  std::int64_t n_groups = 1, n_used_groups = 1;
  bool group_by_two = false;  ///< A group counts as its best two together, else as its best.
};
/// A low-rank pair for every expert: B[e]·(A[e]·x) is added to the product of one of an expert's
/// matrices. a: n_experts matrices `[rank, cols]`, b `[rows, rank]`.
struct ExpertPair {
  enum class Of : std::uint8_t { kGate, kUp, kDown };
  Of of;
  WeightId a, b;
};
/// out = Σ weight · down[e](f(gate[e]·x) · up[e]·x) over the experts e that `route` chose for the
/// row. gate, up: n_experts matrices `[ffn_dim, dim]`, down `[dim, ffn_dim]`; biases
/// `[n_experts, …]`. With a `limit` (gpt-oss) gate and up are clamped to it and the product is
/// gate·sigmoid(alpha·gate)·(up + 1).
struct ExpertsOp {
  ValueId x, route;
  WeightId gate, up, down;
  Activation activation = Activation::kSilu;
  WeightId gate_bias = kNone, up_bias = kNone, down_bias = kNone;
  float limit = 0.0F, alpha = 1.0F;
  std::vector<ExpertPair> pairs = {};  ///< Of adapters, added in this order.

  WeightId matrix(ExpertPair::Of of) const noexcept {
    return of == ExpertPair::Of::kGate ? gate : of == ExpertPair::Of::kUp ? up : down;
  }
};
/// out[t] = factor[t] · x[t]; factor `[T, 1]`.
struct ScaleRowsOp {
  ValueId x, factor;
};
struct ActivationOp {
  ValueId x;
  Activation activation;
};
struct AddOp {
  ValueId a, b;
};
struct ScaleOp {
  ValueId x;
  float factor;
};
/// out = a · b.
struct MulOp {
  ValueId a, b;
};
/// out[t] = weight · x[t], column by column; weight `[cols]`.
struct ScaleColumnsOp {
  ValueId x;
  WeightId weight;
};
/// Columns [first, first + cols) of x.
struct ColumnsOp {
  ValueId x;
  std::int64_t first, cols;
};
/// out[t] = base[t] + Σ_j (factors[t, first + j] + offset) · x_j[t], added in order of j.
struct MixOp {
  ValueId base;
  std::vector<ValueId> xs;
  ValueId factors;
  std::int64_t first = 0;
  float offset = 0.0F;
};
/// out[t] = x[t] · √(mean of like[t]²) / √(max(mean of x[t]², floor)).
struct MatchMagnitudeOp {
  ValueId x, like;
  float floor;
};
/// out = max(x − (mean + deviations·σ), 0), mean and σ those of each row: of numbers that are
/// normally distributed, a fixed part stays (Gemma 3n's activation sparsity).
struct CutoffOp {
  ValueId x;
  float deviations;
};
/// Causal convolution of every column with its own `kernel` numbers: out[t, c] = Σ_j weight[c, j] ·
/// x[t − kernel + 1 + j, c] + bias[c], rows before the sequence being zero. weight `[cols·kernel]`,
/// bias `[cols]`; the state holds the last kernel − 1 rows.
struct CausalConvOp {
  ValueId x;
  WeightId weight;
  WeightId bias = kNone;
  StateId state = kNone;
  std::int64_t kernel = 0;
};
/// State-space scan (Gu and Dao 2023, "Mamba"; Dao and Gu 2024, "Transformers are SSMs"), for heads
/// of `head_dim` columns and `state_dim` numbers for each: d = clamp(softplus(dt + dt_bias)),
/// s ← exp(d·a)·s + (d·b)·x, out = Σ s·c + skip·x. x `[T, heads·head_dim]`, dt `[T, heads]`, b and
/// c `[T, groups·state_dim]`, a `[heads]` or `[heads·state_dim]`, skip `[heads]`. The state holds
/// blocks of kScanBlock columns of a group, the last one padded; one number more for every column
/// where a head has one rate a.
inline constexpr std::int64_t kScanBlock = 16;
struct ScanOp {
  ValueId x, dt, b, c;
  WeightId a, skip;
  WeightId dt_bias = kNone;
  StateId state = kNone;
  std::int64_t head_dim = 1, groups = 1;
  float dt_min = 0.0F, dt_max = 0.0F;  ///< Equal: not clamped.
};
/// out = min(max(x, −limit), limit).
struct ClampOp {
  ValueId x;
  float limit;
};
/// out = cap · tanh(x / cap).
struct SoftcapOp {
  ValueId x;
  float cap;
};
/// Keeps the rows whose output was asked for: `[T, cols]` → `[outputs, cols]`.
struct SelectRowsOp {
  ValueId x;
};
/// Rows that come with a step (StepBinding::inputs): out `[T, cols]` is input `number`.
struct InputOp {
  std::int64_t number, cols;
};

using Op =
    std::variant<EmbeddingOp, PositionEmbeddingOp, SinusoidOp, TypeEmbeddingOp, ConstantRowsOp,
                 LinearOp, RmsNormOp, LayerNormOp, RopeAnglesOp, RopeOp, PositionColumnOp,
                 JoinHeadsOp, AttentionOp, StoreSourceOp, CrossAttentionOp, EncoderAttentionOp,
                 PoolOp, GluOp, RouteOp, ExpertsOp, ScaleRowsOp, ActivationOp, AddOp, MulOp,
                 ScaleColumnsOp, ColumnsOp, MixOp, MatchMagnitudeOp, CutoffOp, CausalConvOp, ScanOp,
                 ScaleOp, ClampOp, SoftcapOp, SelectRowsOp, InputOp>;

struct Node {
  Op op;
  ValueId out;
  std::int32_t layer;  ///< Layer of the model, or −1; for printing and tracing.
};

/// A named result, e.g. "logits".
struct Output {
  std::string name;
  ValueId value;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Weight> weights;
  std::vector<KvState> states;
  std::vector<RollingState> rolling;  ///< StateIds of their own.
  std::vector<Node> nodes;
  std::vector<Output> outputs;
  std::int64_t vocab_size = 0;  ///< Valid token ids are 0 … vocab_size − 1.
};

/// One line per node: name, inputs, shapes, weights with encodings.
std::string print_graph(const Graph& graph);

/// The values that an op reads, in the order of its fields (kNone left out).
std::vector<ValueId> inputs_of(const Op& op);
/// The op's word, e.g. "linear".
const char* op_name(const Op& op);

}  // namespace quern::graph
