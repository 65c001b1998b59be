#include "graph/builder.h"

#include "graph/adapter_scales.h"
#include "graph/op_table.h"

namespace quern::graph {
namespace {

std::string shape_text(std::int64_t rows, std::int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

}  // namespace

std::string adapter_weight(std::string_view matrix, std::size_t place, bool is_b) {
  return std::string(matrix) + ".adapter" + std::to_string(place) + (is_b ? ".b" : ".a");
}

std::string lookup_weight(std::string_view table, std::size_t place, bool is_b) {
  return std::string(table) + ".lookup" + std::to_string(place) + (is_b ? ".b" : ".a");
}

GraphBuilder::GraphBuilder(WeightLookup lookup, std::int64_t vocab_size)
    : lookup_(std::move(lookup)) {
  graph_.vocab_size = vocab_size;
}

void GraphBuilder::fail(Error error) {
  if (status_.ok()) status_ = std::move(error);
}

WeightId GraphBuilder::weight(std::string_view name, std::int64_t count, std::int64_t rows,
                              std::int64_t cols, bool optional, bool vector) {
  if (!status_.ok()) return kNone;
  auto found = lookup_(name, optional);
  if (!found.ok()) {
    fail(std::move(found).error());
    return kNone;
  }
  const quant::TensorView& view = *found;
  if (view.empty()) return kNone;
  const bool plain_floats = view.encoding == Encoding::kF32 && view.layout == Layout::kPlain;
  if (view.batch != count || view.rows != rows || view.cols != cols) {
    fail(Error(ErrorCode::kMismatch, "a tensor has the wrong shape")
             .of(std::string(name))
             .want(shape_text(rows, cols))
             .got(shape_text(view.rows, view.cols)));
    return kNone;
  }
  if (vector ? !plain_floats : view.layout != Layout::kPanel16) {
    fail(Error(ErrorCode::kMismatch, "a tensor has the wrong layout")
             .of(std::string(name))
             .want(vector ? "a plain float32 vector" : "panels of 16 rows"));
    return kNone;
  }
  return add_weight(name, view);
}

WeightId GraphBuilder::add_weight(std::string_view name, const quant::TensorView& view) {
  graph_.weights.push_back({std::string(name), view});
  return static_cast<WeightId>(graph_.weights.size() - 1);
}

WeightId GraphBuilder::matrix(std::string_view name, std::int64_t rows, std::int64_t cols,
                              bool optional) {
  return weight(name, 1, rows, cols, optional, false);
}

WeightId GraphBuilder::matrices(std::string_view name, std::int64_t count, std::int64_t rows,
                                std::int64_t cols) {
  return weight(name, count, rows, cols, false, false);
}

WeightId GraphBuilder::matrix_part(std::string_view name, std::int64_t part, std::int64_t count,
                                   std::int64_t rows, std::int64_t cols) {
  const WeightId all = matrices(name, count, rows, cols);
  if (all == kNone) return all;
  Weight& one = graph_.weights[static_cast<std::size_t>(all)];
  const EncodingInfo* info = find_encoding(one.view.encoding);
  const auto bytes = info == nullptr
                         ? std::nullopt
                         : tensor_bytes(*info, one.view.layout, static_cast<std::uint64_t>(rows),
                                        static_cast<std::uint64_t>(cols));
  if (!bytes || part < 0 || part >= count) {
    fail(Error(ErrorCode::kOutOfRange, "a weight has no such part").of(std::string(name)));
    return kNone;
  }
  one.name += "." + std::to_string(part);
  one.view.batch = 1;
  one.view.data += static_cast<std::uint64_t>(part) * *bytes;
  return all;
}

WeightId GraphBuilder::vector(std::string_view name, std::int64_t n, bool optional) {
  return weight(name, 1, 1, n, optional, true);
}

quant::TensorView GraphBuilder::find(std::string_view name) {
  const auto found = lookup_(name, true);
  return found.ok() ? *found : quant::TensorView{};
}

bool GraphBuilder::has(std::string_view name) { return !find(name).empty(); }

StateId GraphBuilder::kv_state(const KvState& state) {
  graph_.states.push_back(state);
  return static_cast<StateId>(graph_.states.size() - 1);
}

ValueId GraphBuilder::append(Op op, std::string_view name) {
  if (!status_.ok()) return kNone;
  auto shape = op_table()[op.index()].infer(op, graph_);
  if (!shape.ok()) {
    Error error = std::move(shape).error();
    error.field = std::string(name) + ", " + error.field;
    fail(std::move(error));
    return kNone;
  }
  Value value = std::move(shape).value();
  value.name = std::string(name.substr(name.rfind('.') + 1));  // The node knows its layer.
  graph_.values.push_back(std::move(value));
  const auto out = static_cast<ValueId>(graph_.values.size() - 1);
  graph_.nodes.push_back({std::move(op), out, layer_});
  return out;
}

ValueId GraphBuilder::embedding(WeightId table, float scale, std::int64_t first) {
  ValueId sum = append(EmbeddingOp{table, scale, first}, "embedding");
  if (!status_.ok()) return kNone;
  const std::string name = graph_.weights[static_cast<std::size_t>(table)].name;
  for (std::size_t place = 0; status_.ok(); ++place) {
    const std::string of_a = lookup_weight(name, place, false);
    const std::string of_b = lookup_weight(name, place, true);
    const auto a = find(of_a), b = find(of_b);
    if (a.empty() || b.empty()) break;
    const ValueId low = append(EmbeddingOp{add_weight(of_a, a), scale, first}, "embedding.low");
    sum = append(LinearOp{low, add_weight(of_b, b), kNone, sum}, "embedding");
  }
  return sum;
}
ValueId GraphBuilder::position_embedding(WeightId table, std::int64_t offset) {
  return append(PositionEmbeddingOp{table, offset}, "positions");
}
ValueId GraphBuilder::sinusoid(std::int64_t dim) { return append(SinusoidOp{dim}, "positions"); }
ValueId GraphBuilder::type_embedding(WeightId table, std::string_view name) {
  return append(TypeEmbeddingOp{table}, name);
}
ValueId GraphBuilder::constant_rows(WeightId table, std::string_view name) {
  return append(ConstantRowsOp{table}, name);
}
ValueId GraphBuilder::linear(ValueId x, WeightId weight_id, std::string_view name, WeightId bias,
                             ValueId residual) {
  if (!status_.ok()) return kNone;
  const std::string matrix = graph_.weights[static_cast<std::size_t>(weight_id)].name;
  const auto scaled = [&](ValueId value, std::string_view kind) -> ValueId {
    const std::string of = matrix + std::string(kind);
    const quant::TensorView factor = find(of);
    if (factor.empty()) return value;
    return append(ScaleColumnsOp{value, add_weight(of, factor)},
                  std::string(name) + std::string(kind));
  };
  // A factor of the product keeps off what is added to it; one of the output keeps off the
  // residual.
  const bool product = !find(matrix + std::string(kProductScale)).empty();
  const bool output = !find(matrix + std::string(kOutputScale)).empty();
  WeightId late_bias = product ? bias : kNone;
  x = scaled(x, kInputScale);
  ValueId sum = append(
      LinearOp{x, weight_id, product ? kNone : bias, product || output ? kNone : residual}, name);
  sum = scaled(scaled(sum, kProductScale), kOutputScale);
  for (std::size_t place = 0; status_.ok(); ++place) {
    const auto a = find(adapter_weight(matrix, place, false));
    const auto b = find(adapter_weight(matrix, place, true));
    if (a.empty() || b.empty()) break;
    const ValueId low = append(LinearOp{x, add_weight(adapter_weight(matrix, place, false), a)},
                               std::string(name) + ".low");
    const WeightId up = add_weight(adapter_weight(matrix, place, true), b);
    sum = append(LinearOp{low, up, late_bias, sum}, name);
    late_bias = kNone;
  }
  return residual != kNone && (product || output) ? append(AddOp{sum, residual}, name) : sum;
}
ValueId GraphBuilder::rms_norm(ValueId x, WeightId weight_id, float eps, std::string_view name) {
  return append(RmsNormOp{x, weight_id, eps, cols(x)}, name);
}
ValueId GraphBuilder::rms_norm_heads(ValueId x, WeightId weight_id, float eps,
                                     std::int64_t head_dim, std::string_view name) {
  return append(RmsNormOp{x, weight_id, eps, head_dim}, name);
}
ValueId GraphBuilder::layer_norm(ValueId x, WeightId weight_id, WeightId bias, float eps,
                                 std::string_view name) {
  return append(LayerNormOp{x, weight_id, bias, eps, cols(x)}, name);
}
ValueId GraphBuilder::layer_norm_heads(ValueId x, WeightId weight_id, WeightId bias, float eps,
                                       std::int64_t head_dim, std::string_view name) {
  return append(LayerNormOp{x, weight_id, bias, eps, head_dim}, name);
}
ValueId GraphBuilder::rope_angles(RopeAnglesOp op, std::string_view name) {
  return append(std::move(op), name);
}
ValueId GraphBuilder::rope(ValueId x, ValueId angles, std::int64_t head_dim, bool interleaved,
                           std::string_view name) {
  return append(RopeOp{x, angles, head_dim, interleaved}, name);
}
ValueId GraphBuilder::position_column(ValueId x, std::int64_t head_dim, std::vector<float> slopes,
                                      std::string_view name) {
  return append(PositionColumnOp{x, head_dim, std::move(slopes)}, name);
}
ValueId GraphBuilder::join_heads(const JoinHeadsOp& op, std::string_view name) {
  return append(op, name);
}
ValueId GraphBuilder::attention(const AttentionOp& op, std::string_view name) {
  return append(op, name);
}
void GraphBuilder::store_source(const StoreSourceOp& op, std::string_view name) {
  append(op, name);
}
ValueId GraphBuilder::cross_attention(const CrossAttentionOp& op, std::string_view name) {
  return append(op, name);
}
ValueId GraphBuilder::encoder_attention(const EncoderAttentionOp& op, std::string_view name) {
  return append(op, name);
}
ValueId GraphBuilder::pool(ValueId x, Pooling pooling, std::string_view name) {
  return append(PoolOp{x, pooling}, name);
}
ValueId GraphBuilder::glu(ValueId gate, ValueId up, Activation kind, std::string_view name) {
  return append(GluOp{gate, up, kind}, name);
}
ValueId GraphBuilder::route(const RouteOp& op, std::string_view name) { return append(op, name); }
ValueId GraphBuilder::experts(ExpertsOp op, std::string_view name) {
  if (!status_.ok()) return kNone;
  for (const auto of : {ExpertPair::Of::kGate, ExpertPair::Of::kUp, ExpertPair::Of::kDown}) {
    const std::string matrix = graph_.weights[static_cast<std::size_t>(op.matrix(of))].name;
    for (std::size_t place = 0;; ++place) {
      const std::string of_a = adapter_weight(matrix, place, false);
      const std::string of_b = adapter_weight(matrix, place, true);
      const quant::TensorView a = find(of_a), b = find(of_b);
      if (a.empty() || b.empty()) break;
      op.pairs.push_back({of, add_weight(of_a, a), add_weight(of_b, b)});
    }
  }
  return append(std::move(op), name);
}
ValueId GraphBuilder::scale_rows(ValueId x, ValueId factor, std::string_view name) {
  return append(ScaleRowsOp{x, factor}, name);
}
ValueId GraphBuilder::activation(ValueId x, Activation kind, std::string_view name) {
  return append(ActivationOp{x, kind}, name);
}
ValueId GraphBuilder::add(ValueId a, ValueId b, std::string_view name) {
  return append(AddOp{a, b}, name);
}
ValueId GraphBuilder::scale(ValueId x, float factor, std::string_view name) {
  return append(ScaleOp{x, factor}, name);
}
ValueId GraphBuilder::mul(ValueId a, ValueId b, std::string_view name) {
  return append(MulOp{a, b}, name);
}
ValueId GraphBuilder::scale_columns(ValueId x, WeightId weight_id, std::string_view name) {
  return append(ScaleColumnsOp{x, weight_id}, name);
}
ValueId GraphBuilder::columns(ValueId x, std::int64_t first, std::int64_t count,
                              std::string_view name) {
  return append(ColumnsOp{x, first, count}, name);
}
ValueId GraphBuilder::mix(MixOp op, std::string_view name) { return append(std::move(op), name); }
ValueId GraphBuilder::match_magnitude(ValueId x, ValueId like, float floor, std::string_view name) {
  return append(MatchMagnitudeOp{x, like, floor}, name);
}
ValueId GraphBuilder::cutoff(ValueId x, float deviations, std::string_view name) {
  return append(CutoffOp{x, deviations}, name);
}
StateId GraphBuilder::rolling_state(std::int64_t floats) {
  graph_.rolling.push_back({floats});
  return static_cast<StateId>(graph_.rolling.size() - 1);
}
ValueId GraphBuilder::causal_conv(CausalConvOp op, std::string_view name) {
  if (status_.ok()) op.state = rolling_state((op.kernel - 1) * cols(op.x));
  return append(op, name);
}
ValueId GraphBuilder::scan(ScanOp op, std::string_view name) {
  if (status_.ok() && op.groups > 0) {
    const bool one_rate = graph_.weights[static_cast<std::size_t>(op.a)].view.cols == cols(op.dt);
    const std::int64_t numbers = cols(op.b) / op.groups + (one_rate ? 1 : 0);
    const std::int64_t blocks = (cols(op.x) / op.groups + kScanBlock - 1) / kScanBlock;
    op.state = rolling_state(op.groups * blocks * kScanBlock * numbers);
  }
  return append(op, name);
}
ValueId GraphBuilder::clamp(ValueId x, float limit, std::string_view name) {
  return append(ClampOp{x, limit}, name);
}
ValueId GraphBuilder::softcap(ValueId x, float cap, std::string_view name) {
  return append(SoftcapOp{x, cap}, name);
}
ValueId GraphBuilder::select_rows(ValueId x, std::string_view name) {
  return append(SelectRowsOp{x}, name);
}
ValueId GraphBuilder::input(std::int64_t number, std::int64_t cols, std::string_view name) {
  return append(InputOp{number, cols}, name);
}

void GraphBuilder::output(std::string_view name, ValueId value) {
  if (status_.ok()) graph_.outputs.push_back({std::string(name), value});
}

std::int64_t GraphBuilder::cols(ValueId value) const noexcept {
  return value == kNone ? 0 : graph_.values[static_cast<std::size_t>(value)].cols;
}

Result<Graph> GraphBuilder::finish() {
  if (!status_.ok()) return std::move(status_).error();
  return std::move(graph_);
}

}  // namespace quern::graph
