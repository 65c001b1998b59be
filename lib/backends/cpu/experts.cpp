// A mixture's MLP: the products of experts with the rows that chose them, gathered and put back by
// expert_slots.
#include "backends/cpu/expert_slots.h"
#include "backends/cpu/observe.h"
#include "backends/cpu/ops.h"
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

/// The products of every expert with its rows; threads take panels of each.
class ExpertLinearStep final : public Step {
 public:
  struct Matrices {
    quant::TensorView weight;
    const float* bias;  ///< `[n_experts, rows]` or nullptr.
    BufferId packed, out;
    bool adds = false;  ///< To what lies in `out`.
  };
  ExpertLinearStep(const ExpertsShape& shape, const Matrices& matrices)
      : shape_(shape),
        m_(matrices),
        info_(*find_encoding(matrices.weight.encoding)),
        matrix_bytes_(tensor_bytes(info_, Layout::kPanel16,
                                   static_cast<std::uint64_t>(matrices.weight.rows),
                                   static_cast<std::uint64_t>(matrices.weight.cols))
                          .value_or(0)) {}

  void run(const StepContext& context) const override {
    const SlotTable table = shape_.slot_table(context);
    const std::int64_t rows = m_.weight.rows, cols = m_.weight.cols;
    const auto [begin, end] = context.share(ceil_div(rows, kernels::kPanelRows));
    if (begin == end) return;
    const auto linear = context.kernels.linear[static_cast<std::size_t>(m_.weight.encoding)];
    for (std::int64_t e = 0; e < shape_.n_experts; ++e) {
      const std::int64_t first = table.begin[e], n = table.begin[e + 1] - first;
      if (n == 0) continue;
      linear({m_.weight.data + static_cast<std::uint64_t>(e) * matrix_bytes_, rows, cols, begin,
              end, context.bytes(m_.packed) + table.tile[e] * tile_bytes(info_.rows, cols), n,
              m_.bias == nullptr ? nullptr : m_.bias + e * rows,
              context.floats(m_.out) + first * rows, rows, m_.adds, context.scratch});
    }
  }

 private:
  ExpertsShape shape_;
  Matrices m_;
  const EncodingInfo& info_;
  std::uint64_t matrix_bytes_;
};

/// gate ← f(gate) · up, for all slots.
class ExpertGluStep final : public Step {
 public:
  ExpertGluStep(const ExpertsShape& shape, const graph::ExpertsOp& op)
      : shape_(shape),
        activation_(static_cast<std::size_t>(op.activation)),
        limit_(op.limit),
        alpha_(op.alpha) {}

  void run(const StepContext& context) const override {
    const auto [begin, end] = context.share(shape_.slots(context.rows()));
    if (limit_ > 0.0F) return clamped(context, begin * shape_.ffn_dim, end * shape_.ffn_dim);
    float* gate = context.floats(shape_.gate) + begin * shape_.ffn_dim;
    const float* up = context.floats(shape_.up) + begin * shape_.ffn_dim;
    context.kernels.glu[activation_](gate, up, (end - begin) * shape_.ffn_dim, gate);
  }

 private:
  /// gate' = min(gate, limit), up' = clamp(up, ±limit); gate'·sigmoid(alpha·gate')·(up' + 1).
  void clamped(const StepContext& context, std::int64_t begin, std::int64_t end) const {
    const kernels::KernelTable& k = context.kernels;
    float* gate = context.floats(shape_.gate) + begin;
    float* up = context.floats(shape_.up) + begin;
    const std::int64_t n = end - begin;
    k.clamp(up, limit_, n, up);
    for (std::int64_t i = 0; i < n; ++i) {
      gate[i] = limit_ < gate[i] ? limit_ : gate[i];
      up[i] = gate[i] * (up[i] + 1.0F);
    }
    k.scale(gate, alpha_, n, gate);
    k.glu[static_cast<std::size_t>(graph::Activation::kSigmoid)](gate, up, n, gate);
  }

  ExpertsShape shape_;
  std::size_t activation_;
  float limit_, alpha_;
};

/// Lowers one op. Used once.
class ExpertsLowering {
 public:
  ExpertsLowering(Lowering& lowering, const graph::ExpertsOp& op, graph::ValueId out)
      : lowering_(lowering), op_(op) {
    shape_.n_experts = view(op.gate).batch;
    shape_.n_used = lowering.value(op.route).cols / 2;
    shape_.dim = lowering.value(op.x).cols;
    shape_.ffn_dim = view(op.gate).rows;
    shape_.x = lowering.buffer(op.x);
    shape_.route = lowering.buffer(op.route);
    shape_.table = buffer(
        [&](std::int64_t rows) { return SlotTable::bytes(shape_.n_experts, shape_.slots(rows)); });
    shape_.sorted = floats(shape_.dim);
    shape_.gate = floats(shape_.ffn_dim);
    shape_.up = floats(shape_.ffn_dim);
    shape_.down = floats(shape_.dim);
    shape_.packed_x = packed(format(op.gate), shape_.dim);
    shape_.out = lowering.allocate(out);
  }

  void lower() {
    const auto other = [](std::vector<BufferId> reads, std::vector<BufferId> writes) {
      return StepInfo{Split::kOther, std::move(reads), std::move(writes)};
    };
    lowering_.add(make_sort_slots(shape_), other({shape_.route}, {shape_.table}));
    Input x{shape_.sorted, shape_.dim, {{format(op_.gate), shape_.packed_x}}};
    lowering_.add(make_pack_slots(
                      shape_, {shape_.sorted, shape_.packed_x, shape_.dim, format(op_.gate), true}),
                  other({shape_.x, shape_.table}, {shape_.sorted, shape_.packed_x}));
    observe(op_.gate, shape_.sorted, shape_.dim);
    observe(op_.up, shape_.sorted, shape_.dim);
    product(Of::kGate, op_.gate_bias, x, shape_.gate);
    product(Of::kUp, op_.up_bias, x, shape_.up);
    lowering_.add(std::make_unique<ExpertGluStep>(shape_, op_),
                  other({shape_.gate, shape_.up}, {shape_.gate}));
    Input h{shape_.gate, shape_.ffn_dim, {}};
    observe(op_.down, shape_.gate, shape_.ffn_dim);
    product(Of::kDown, op_.down_bias, h, shape_.down);
    lowering_.add(make_combine_slots(shape_),
                  other({shape_.down, shape_.table, shape_.route}, {shape_.out}));
  }

 private:
  using Of = graph::ExpertPair::Of;
  const quant::TensorView& view(graph::WeightId id) const { return lowering_.weight(id).view; }
  RowFormat format(graph::WeightId id) const { return find_encoding(view(id).encoding)->rows; }

  /// Sorted rows and the forms in which they were packed.
  struct Input {
    BufferId rows;
    std::int64_t cols;
    std::vector<std::pair<RowFormat, BufferId>> packed;
  };

  BufferId packed_in(Input& input, RowFormat format) {
    for (const auto& [its, buffer] : input.packed)
      if (its == format) return buffer;
    const BufferId out = packed(format, input.cols);
    lowering_.add(make_pack_slots(shape_, {input.rows, out, input.cols, format}),
                  {Split::kOther, {input.rows, shape_.table}, {out}});
    input.packed.emplace_back(format, out);
    return out;
  }

  /// The product of one of the three matrices, and what adapters add to it.
  void product(Of of, graph::WeightId bias, Input& input, BufferId out) {
    const graph::WeightId matrix = op_.matrix(of);
    linear(matrix, bias, packed_in(input, format(matrix)), out, false);
    for (const graph::ExpertPair& pair : op_.pairs) {
      if (pair.of != of) continue;
      Input low{floats(view(pair.a).rows), view(pair.a).rows, {}};
      linear(pair.a, graph::kNone, packed_in(input, format(pair.a)), low.rows, false);
      linear(pair.b, graph::kNone, packed_in(low, format(pair.b)), out, true);
    }
  }

  template <class Bytes>
  BufferId buffer(Bytes bytes) {
    const graph::Value& x = lowering_.value(op_.x);
    return lowering_.new_buffer(bytes(lowering_.max_rows(x)), bytes(lowering_.few_rows(x)));
  }
  BufferId floats(std::int64_t cols) {
    return buffer([&](std::int64_t rows) {
      return shape_.slots(rows) * cols * static_cast<std::int64_t>(sizeof(float));
    });
  }
  BufferId packed(RowFormat format, std::int64_t cols) {
    return buffer([&](std::int64_t rows) { return shape_.tiles(rows) * tile_bytes(format, cols); });
  }

  void observe(graph::WeightId weight, BufferId rows, std::int64_t cols) {
    if (!is_observed(lowering_, lowering_.weight(weight))) return;
    StepInfo info{Split::kOther, {rows, shape_.table}, {}};
    info.kind = "observe";
    lowering_.add(make_observe_slots(shape_, *lowering_.options().observer,
                                     lowering_.weight(weight).name, rows, cols),
                  std::move(info));
  }

  void linear(graph::WeightId weight, graph::WeightId bias, BufferId packed, BufferId out,
              bool adds) {
    const float* values = bias == graph::kNone ? nullptr : view(bias).f32();
    StepInfo info{Split::kOther,
                  {packed, shape_.table},
                  {out},
                  kernels::linear_scratch_bytes(view(weight).encoding, view(weight).cols)};
    if (adds) info.reads.push_back(out);
    lowering_.add(std::make_unique<ExpertLinearStep>(
                      shape_, ExpertLinearStep::Matrices{view(weight), values, packed, out, adds}),
                  std::move(info));
  }

  Lowering& lowering_;
  const graph::ExpertsOp& op_;
  ExpertsShape shape_{};
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::ExpertsOp& experts, graph::ValueId out) {
  std::vector<graph::WeightId> matrices{experts.gate, experts.up, experts.down};
  for (const graph::ExpertPair& pair : experts.pairs) {
    matrices.push_back(pair.a);
    matrices.push_back(pair.b);
  }
  for (const graph::WeightId id : matrices) {
    const graph::Weight& weight = lowering.weight(id);
    const auto slot = static_cast<std::size_t>(weight.view.encoding);
    if (find_encoding(weight.view.encoding) == nullptr || slot >= kernels::kEncodingSlots ||
        lowering.kernels().linear[slot] == nullptr) {
      return unsupported_encoding("experts", weight);
    }
  }
  const auto format = [&](graph::WeightId id) {
    return find_encoding(lowering.weight(id).view.encoding)->rows;
  };
  if (format(experts.gate) != format(experts.up))
    return unsupported_encoding("experts", lowering.weight(experts.up));
  ExpertsLowering(lowering, experts, out).lower();
  return {};
}

}  // namespace quern::backends::cpu
