#include "graph/op_table.h"

#include <algorithm>
#include <array>

namespace quern::graph {
namespace {

Error mismatch(const char* op, const std::string& what, std::int64_t want, std::int64_t got) {
  return Error(ErrorCode::kMismatch, std::string("the shapes of an operation do not fit"))
      .of(std::string(op) + ": " + what)
      .want(std::to_string(want))
      .got(std::to_string(got));
}

Status same(const char* op, const char* what, std::int64_t want, std::int64_t got) {
  if (want == got) return {};
  return mismatch(op, what, want, got);
}

const Value& value(const Graph& graph, ValueId id) {
  return graph.values[static_cast<std::size_t>(id)];
}
const quant::TensorView& weight(const Graph& graph, WeightId id) {
  return graph.weights[static_cast<std::size_t>(id)].view;
}

Value shaped(const Value& like, std::int64_t cols) {
  return Value{"", like.rows, cols, like.count};
}

// ---- One pair of functions per op: what it reads, what it makes. ----

std::vector<ValueId> inputs(const EmbeddingOp&) { return {}; }
Result<Value> infer(const EmbeddingOp& op, const Graph& graph) {
  return Value{"", Rows::kStep, weight(graph, op.table).cols};
}

std::vector<ValueId> inputs(const PositionEmbeddingOp&) { return {}; }
Result<Value> infer(const PositionEmbeddingOp& op, const Graph& graph) {
  const auto& table = weight(graph, op.table);
  if (op.offset < 0 || op.offset >= table.rows)
    return mismatch("position_embedding", "offset", table.rows, op.offset);
  return Value{"", Rows::kStep, table.cols};
}

std::vector<ValueId> inputs(const SinusoidOp&) { return {}; }
Result<Value> infer(const SinusoidOp& op, const Graph&) {
  if (op.dim < 2 || op.dim % 2 != 0) return mismatch("sinusoid", "an odd width", 2, op.dim);
  return Value{"", Rows::kStep, op.dim};
}

std::vector<ValueId> inputs(const TypeEmbeddingOp&) { return {}; }
Result<Value> infer(const TypeEmbeddingOp& op, const Graph& graph) {
  return Value{"", Rows::kStep, weight(graph, op.table).cols};
}

std::vector<ValueId> inputs(const LinearOp& op) { return {op.x, op.residual}; }
Result<Value> infer(const LinearOp& op, const Graph& graph) {
  const auto& w = weight(graph, op.weight);
  const Value& x = value(graph, op.x);
  QUERN_CHECK(same("linear", "columns of x", w.cols, x.cols));
  if (op.bias != kNone) QUERN_CHECK(same("linear", "bias", w.rows, weight(graph, op.bias).cols));
  if (op.residual != kNone)
    QUERN_CHECK(same("linear", "residual", w.rows, value(graph, op.residual).cols));
  return shaped(x, w.rows);
}

/// Norms over groups of columns: a vector fits one group, or all of them side by side.
Status check_norm(const char* op, const Value& x, std::int64_t group, WeightId vector,
                  const Graph& graph) {
  if (group <= 0 || x.cols % group != 0) return mismatch(op, "group", x.cols, group);
  if (vector == kNone || weight(graph, vector).cols == x.cols) return {};
  return same(op, "weight or bias", group, weight(graph, vector).cols);
}

std::vector<ValueId> inputs(const RmsNormOp& op) { return {op.x}; }
Result<Value> infer(const RmsNormOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  QUERN_CHECK(check_norm("rms_norm", x, op.group, op.weight, graph));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const LayerNormOp& op) { return {op.x}; }
Result<Value> infer(const LayerNormOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  QUERN_CHECK(check_norm("layer_norm", x, op.group, op.weight, graph));
  QUERN_CHECK(check_norm("layer_norm", x, op.group, op.bias, graph));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const RopeAnglesOp&) { return {}; }
Result<Value> infer(const RopeAnglesOp& op, const Graph&) {
  if (op.long_after > 0) {
    QUERN_CHECK(same("rope_angles", "long frequencies",
                     static_cast<std::int64_t>(op.inv_freq.size()),
                     static_cast<std::int64_t>(op.long_inv_freq.size())));
  }
  return Value{"", Rows::kStep, 2 * static_cast<std::int64_t>(op.inv_freq.size())};
}

std::vector<ValueId> inputs(const RopeOp& op) { return {op.x, op.angles}; }
Result<Value> infer(const RopeOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  const Value& angles = value(graph, op.angles);
  if (op.head_dim <= 0 || x.cols % op.head_dim != 0)
    return mismatch("rope", "head_dim", x.cols, op.head_dim);
  if (angles.cols > op.head_dim) return mismatch("rope", "angles", op.head_dim, angles.cols);
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const PositionColumnOp& op) { return {op.x}; }
Result<Value> infer(const PositionColumnOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  if (op.head_dim <= 0 || x.cols % op.head_dim != 0)
    return mismatch("position_column", "head_dim", x.cols, op.head_dim);
  const std::int64_t heads = x.cols / op.head_dim;
  const auto slopes = static_cast<std::int64_t>(op.slopes.size());
  if (slopes != 0) QUERN_CHECK(same("position_column", "slopes", heads, slopes));
  return shaped(x, heads * (op.head_dim + 1));
}

std::vector<ValueId> inputs(const JoinHeadsOp& op) { return {op.a, op.b}; }
Result<Value> infer(const JoinHeadsOp& op, const Graph& graph) {
  const Value &a = value(graph, op.a), &b = value(graph, op.b);
  if (op.a_dim <= 0 || op.b_dim <= 0 || b.cols % op.b_dim != 0)
    return mismatch("join_heads", "columns of b", b.cols, op.b_dim);
  const std::int64_t heads = b.cols / op.b_dim;
  if (a.cols != op.a_dim) QUERN_CHECK(same("join_heads", "columns of a", heads * op.a_dim, a.cols));
  return shaped(b, heads * (op.a_dim + op.b_dim));
}

Status check_queries(const char* op, const Value& q, std::int64_t n_heads, const KvState& state) {
  if (n_heads <= 0 || state.n_kv_heads <= 0 || n_heads % state.n_kv_heads != 0)
    return mismatch(op, "n_heads is no multiple of n_kv_heads", state.n_kv_heads, n_heads);
  return same(op, "q", n_heads * state.head_dim, q.cols);
}

Status check_stored(const char* op, const Value& k, const Value& v, const KvState& state) {
  QUERN_CHECK(same(op, "k", state.n_kv_heads * state.head_dim, k.cols));
  return same(op, "v", state.n_kv_heads * state.value_dim, v.cols);
}

/// Buckets beyond the exact ones need distances of their own.
Status check_bias(const char* op, const RelativeBias& bias, std::int64_t n_heads,
                  const Graph& graph) {
  if (bias.table == kNone) return {};
  const auto& table = weight(graph, bias.table);
  if (bias.n_buckets < 4 || bias.n_buckets > table.rows)
    return mismatch(op, "buckets", table.rows, bias.n_buckets);
  const std::int64_t exact = bias.n_buckets / (bias.bidirectional ? 4 : 2);
  if (bias.max_distance <= exact)
    return mismatch(op, "largest distance of the bias", exact + 1, bias.max_distance);
  return same(op, "heads of the bias", n_heads, table.cols);
}

/// Whether a node before has appended to the state in this step.
bool is_filled(const Graph& graph, StateId state) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [state](const Node& node) {
    const auto* attention = std::get_if<AttentionOp>(&node.op);
    return attention != nullptr && attention->state == state && attention->k != kNone;
  });
}

std::vector<ValueId> inputs(const AttentionOp& op) { return {op.q, op.k, op.v}; }
Result<Value> infer(const AttentionOp& op, const Graph& graph) {
  const KvState& state = graph.states[static_cast<std::size_t>(op.state)];
  const Value& q = value(graph, op.q);
  QUERN_CHECK(check_queries("attention", q, op.n_heads, state));
  if ((op.k == kNone) != (op.v == kNone)) return mismatch("attention", "keys without values", 1, 0);
  if (op.k != kNone)
    QUERN_CHECK(check_stored("attention", value(graph, op.k), value(graph, op.v), state));
  else if (!is_filled(graph, op.state))
    return mismatch("attention", "an earlier node that fills the state", 1, 0);
  QUERN_CHECK(check_bias("attention", op.bias, op.n_heads, graph));
  if (!op.alibi_slopes.empty()) {
    QUERN_CHECK(
        same("attention", "slopes", op.n_heads, static_cast<std::int64_t>(op.alibi_slopes.size())));
  }
  if (op.sinks != kNone)
    QUERN_CHECK(same("attention", "sinks", op.n_heads, weight(graph, op.sinks).cols));
  return shaped(q, op.n_heads * state.value_dim);
}

std::vector<ValueId> inputs(const StoreSourceOp& op) { return {op.k, op.v}; }
Result<Value> infer(const StoreSourceOp& op, const Graph& graph) {
  const KvState& state = graph.states[static_cast<std::size_t>(op.state)];
  QUERN_CHECK(check_stored("store_source", value(graph, op.k), value(graph, op.v), state));
  return Value{"", Rows::kStep, 0};
}

std::vector<ValueId> inputs(const CrossAttentionOp& op) { return {op.q}; }
Result<Value> infer(const CrossAttentionOp& op, const Graph& graph) {
  const KvState& state = graph.states[static_cast<std::size_t>(op.state)];
  const Value& q = value(graph, op.q);
  QUERN_CHECK(check_queries("cross_attention", q, op.n_heads, state));
  if (!state.source || state.window != 0)
    return mismatch("cross_attention", "a state of the source", 1, state.source ? 1 : 0);
  return shaped(q, op.n_heads * state.value_dim);
}

std::vector<ValueId> inputs(const ConstantRowsOp&) { return {}; }
Result<Value> infer(const ConstantRowsOp& op, const Graph& graph) {
  const auto& table = weight(graph, op.table);
  return Value{"", Rows::kConstant, table.cols, table.rows};
}

std::vector<ValueId> inputs(const EncoderAttentionOp& op) {
  return {op.q, op.k, op.v, op.disentangled.keys, op.disentangled.queries};
}
Result<Value> infer(const EncoderAttentionOp& op, const Graph& graph) {
  const Value& q = value(graph, op.q);
  if (op.n_heads <= 0 || q.cols % op.n_heads != 0)
    return mismatch("encoder_attention", "columns of q in heads", op.n_heads, q.cols);
  const Value& k = value(graph, op.k);
  const std::int64_t head_dim = q.cols / op.n_heads;
  if (k.cols < head_dim || k.cols % head_dim != 0 || op.n_heads % (k.cols / head_dim) != 0)
    return mismatch("encoder_attention", "columns of k in heads", head_dim, k.cols);
  QUERN_CHECK(same("encoder_attention", "v", k.cols, value(graph, op.v).cols));
  const bool positions = op.disentangled.keys != kNone || op.disentangled.queries != kNone;
  if (positions) QUERN_CHECK(same("encoder_attention", "k", q.cols, k.cols));
  QUERN_CHECK(check_bias("encoder_attention", op.bias, op.n_heads, graph));
  for (const ValueId id : {op.disentangled.keys, op.disentangled.queries}) {
    if (id == kNone) continue;
    QUERN_CHECK(same("encoder_attention", "positions", q.cols, value(graph, id).cols));
    if (value(graph, id).rows != Rows::kConstant || value(graph, id).count % 2 != 0)
      return mismatch("encoder_attention", "an odd number of positions", 0, value(graph, id).count);
  }
  return shaped(q, q.cols);
}

std::vector<ValueId> inputs(const PoolOp& op) { return {op.x}; }
Result<Value> infer(const PoolOp& op, const Graph& graph) {
  return Value{"", Rows::kSequence, value(graph, op.x).cols};
}

std::vector<ValueId> inputs(const GluOp& op) { return {op.gate, op.up}; }
Result<Value> infer(const GluOp& op, const Graph& graph) {
  QUERN_CHECK(same("glu", "up", value(graph, op.gate).cols, value(graph, op.up).cols));
  return shaped(value(graph, op.gate), value(graph, op.gate).cols);
}

std::vector<ValueId> inputs(const RouteOp& op) { return {op.x}; }
Result<Value> infer(const RouteOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  if (x.rows != Rows::kStep || op.n_used < 1 || op.n_used > x.cols)
    return mismatch("route", "experts that are used", x.cols, op.n_used);
  if (op.n_groups < 1 || x.cols % op.n_groups != 0 || op.n_used_groups < 1 ||
      op.n_used_groups > op.n_groups || op.n_used > x.cols / op.n_groups * op.n_used_groups)
    return mismatch("route", "groups of experts", x.cols, op.n_groups);
  if (op.bias != kNone) QUERN_CHECK(same("route", "bias", x.cols, weight(graph, op.bias).cols));
  return shaped(x, 2 * op.n_used);
}

Status check_expert_bias(const char* what, WeightId bias, const quant::TensorView& w,
                         const Graph& graph) {
  if (bias == kNone) return {};
  return same("experts", what, w.batch * w.rows, weight(graph, bias).cols);
}

Status check_expert_pair(const ExpertPair& pair, const quant::TensorView& w, const Graph& graph) {
  const auto &a = weight(graph, pair.a), &b = weight(graph, pair.b);
  QUERN_CHECK(same("experts", "experts of a pair's A", w.batch, a.batch));
  QUERN_CHECK(same("experts", "experts of a pair's B", w.batch, b.batch));
  QUERN_CHECK(same("experts", "columns of a pair's A", w.cols, a.cols));
  QUERN_CHECK(same("experts", "rows of a pair's B", w.rows, b.rows));
  return same("experts", "rank of a pair", a.rows, b.cols);
}

std::vector<ValueId> inputs(const ExpertsOp& op) { return {op.x, op.route}; }
Result<Value> infer(const ExpertsOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  const auto &gate = weight(graph, op.gate), &up = weight(graph, op.up),
             &down = weight(graph, op.down);
  QUERN_CHECK(same("experts", "columns of x", gate.cols, x.cols));
  QUERN_CHECK(same("experts", "columns of up", gate.cols, up.cols));
  QUERN_CHECK(same("experts", "rows of up", gate.rows, up.rows));
  QUERN_CHECK(same("experts", "columns of down", gate.rows, down.cols));
  QUERN_CHECK(same("experts", "rows of down", gate.cols, down.rows));
  QUERN_CHECK(same("experts", "experts of up", gate.batch, up.batch));
  QUERN_CHECK(same("experts", "experts of down", gate.batch, down.batch));
  QUERN_CHECK(check_expert_bias("bias of gate", op.gate_bias, gate, graph));
  QUERN_CHECK(check_expert_bias("bias of up", op.up_bias, up, graph));
  QUERN_CHECK(check_expert_bias("bias of down", op.down_bias, down, graph));
  for (const ExpertPair& pair : op.pairs)
    QUERN_CHECK(check_expert_pair(pair, weight(graph, op.matrix(pair.of)), graph));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const ScaleRowsOp& op) { return {op.x, op.factor}; }
Result<Value> infer(const ScaleRowsOp& op, const Graph& graph) {
  QUERN_CHECK(same("scale_rows", "factor", 1, value(graph, op.factor).cols));
  return shaped(value(graph, op.x), value(graph, op.x).cols);
}

std::vector<ValueId> inputs(const AddOp& op) { return {op.a, op.b}; }
Result<Value> infer(const AddOp& op, const Graph& graph) {
  QUERN_CHECK(same("add", "b", value(graph, op.a).cols, value(graph, op.b).cols));
  return shaped(value(graph, op.a), value(graph, op.a).cols);
}

std::vector<ValueId> inputs(const MulOp& op) { return {op.a, op.b}; }
Result<Value> infer(const MulOp& op, const Graph& graph) {
  QUERN_CHECK(same("mul", "b", value(graph, op.a).cols, value(graph, op.b).cols));
  return shaped(value(graph, op.a), value(graph, op.a).cols);
}

std::vector<ValueId> inputs(const ScaleColumnsOp& op) { return {op.x}; }
Result<Value> infer(const ScaleColumnsOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  QUERN_CHECK(same("scale_columns", "weight", x.cols, weight(graph, op.weight).cols));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const ColumnsOp& op) { return {op.x}; }
Result<Value> infer(const ColumnsOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  if (op.cols < 1 || op.first < 0 || op.first > x.cols - op.cols)
    return mismatch("columns", "last column", x.cols, op.first + op.cols);
  return shaped(x, op.cols);
}

std::vector<ValueId> inputs(const MixOp& op) {
  std::vector<ValueId> ids = {op.base};
  ids.insert(ids.end(), op.xs.begin(), op.xs.end());
  ids.push_back(op.factors);
  return ids;
}
Result<Value> infer(const MixOp& op, const Graph& graph) {
  const Value& base = value(graph, op.base);
  const std::int64_t factors = value(graph, op.factors).cols;
  const auto n = static_cast<std::int64_t>(op.xs.size());
  if (n < 1 || op.first < 0 || op.first > factors - n)
    return mismatch("mix", "factors", factors, op.first + n);
  for (const ValueId x : op.xs) QUERN_CHECK(same("mix", "x", base.cols, value(graph, x).cols));
  return shaped(base, base.cols);
}

std::vector<ValueId> inputs(const MatchMagnitudeOp& op) { return {op.x, op.like}; }
Result<Value> infer(const MatchMagnitudeOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  QUERN_CHECK(same("match_magnitude", "like", x.cols, value(graph, op.like).cols));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const CausalConvOp& op) { return {op.x}; }
Result<Value> infer(const CausalConvOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  constexpr std::int64_t kMaxKernel = 64;
  if (op.kernel < 2 || op.kernel > kMaxKernel)
    return mismatch("causal_conv", "length of the kernel", kMaxKernel, op.kernel);
  QUERN_CHECK(same("causal_conv", "weight", x.cols * op.kernel, weight(graph, op.weight).cols));
  if (op.bias != kNone)
    QUERN_CHECK(same("causal_conv", "bias", x.cols, weight(graph, op.bias).cols));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const ScanOp& op) { return {op.x, op.dt, op.b, op.c}; }
Result<Value> infer(const ScanOp& op, const Graph& graph) {
  const Value& x = value(graph, op.x);
  const std::int64_t heads = value(graph, op.dt).cols, b_cols = value(graph, op.b).cols;
  if (op.head_dim < 1 || op.groups < 1 || heads % op.groups != 0 || b_cols % op.groups != 0)
    return mismatch("scan", "groups", heads, op.groups);
  QUERN_CHECK(same("scan", "columns of x", heads * op.head_dim, x.cols));
  QUERN_CHECK(same("scan", "c", b_cols, value(graph, op.c).cols));
  const std::int64_t a = weight(graph, op.a).cols;
  if (a != heads) QUERN_CHECK(same("scan", "a", heads * (b_cols / op.groups), a));
  QUERN_CHECK(same("scan", "skip", heads, weight(graph, op.skip).cols));
  if (op.dt_bias != kNone)
    QUERN_CHECK(same("scan", "bias of dt", heads, weight(graph, op.dt_bias).cols));
  return shaped(x, x.cols);
}

std::vector<ValueId> inputs(const SelectRowsOp& op) { return {op.x}; }
Result<Value> infer(const SelectRowsOp& op, const Graph& graph) {
  return Value{"", Rows::kOutput, value(graph, op.x).cols};
}

/// Ops that keep the shape of their one input `x`.
template <class T>
std::vector<ValueId> inputs(const T& op) {
  return {op.x};
}
template <class T>
Result<Value> infer(const T& op, const Graph& graph) {
  return shaped(value(graph, op.x), value(graph, op.x).cols);
}

std::vector<ValueId> inputs(const InputOp&) { return {}; }
Result<Value> infer(const InputOp& op, const Graph&) {
  Value value;
  value.cols = op.cols;
  return value;
}

template <class T>
constexpr OpInfo row(const char* name) {
  return {name, [](const Op& op) { return inputs(*std::get_if<T>(&op)); },
          [](const Op& op, const Graph& graph) { return infer(*std::get_if<T>(&op), graph); }};
}

constexpr std::array<OpInfo, std::variant_size_v<Op>> kTable = {
    row<EmbeddingOp>("embedding"),
    row<PositionEmbeddingOp>("position_embedding"),
    row<SinusoidOp>("sinusoid"),
    row<TypeEmbeddingOp>("type_embedding"),
    row<ConstantRowsOp>("constant_rows"),
    row<LinearOp>("linear"),
    row<RmsNormOp>("rms_norm"),
    row<LayerNormOp>("layer_norm"),
    row<RopeAnglesOp>("rope_angles"),
    row<RopeOp>("rope"),
    row<PositionColumnOp>("position_column"),
    row<JoinHeadsOp>("join_heads"),
    row<AttentionOp>("attention"),
    row<StoreSourceOp>("store_source"),
    row<CrossAttentionOp>("cross_attention"),
    row<EncoderAttentionOp>("encoder_attention"),
    row<PoolOp>("pool"),
    row<GluOp>("glu"),
    row<RouteOp>("route"),
    row<ExpertsOp>("experts"),
    row<ScaleRowsOp>("scale_rows"),
    row<ActivationOp>("activation"),
    row<AddOp>("add"),
    row<MulOp>("mul"),
    row<ScaleColumnsOp>("scale_columns"),
    row<ColumnsOp>("columns"),
    row<MixOp>("mix"),
    row<MatchMagnitudeOp>("match_magnitude"),
    row<CutoffOp>("cutoff"),
    row<CausalConvOp>("causal_conv"),
    row<ScanOp>("scan"),
    row<ScaleOp>("scale"),
    row<ClampOp>("clamp"),
    row<SoftcapOp>("softcap"),
    row<SelectRowsOp>("select_rows"),
    row<InputOp>("input"),
};

}  // namespace

std::span<const OpInfo> op_table() noexcept { return kTable; }

const char* op_name(const Op& op) { return kTable[op.index()].name; }

std::vector<ValueId> inputs_of(const Op& op) {
  std::vector<ValueId> ids = kTable[op.index()].inputs(op);
  std::erase(ids, kNone);
  return ids;
}

}  // namespace quern::graph
