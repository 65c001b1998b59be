#include "backends/cpu/gated_linear.h"

#include <algorithm>

#include "backends/cpu/product.h"

namespace quern::backends::cpu {
namespace {

/// Panels that one part of a step of many rows has at most: what they give of one product is kept
/// by the thread.
constexpr std::int64_t kMostPanels = 8;

/// Both sides, or nullptr twice.
struct Sides {
  const graph::LinearOp* gate = nullptr;
  const graph::LinearOp* up = nullptr;
};

Sides sides_of(const Lowering& lowering, const graph::GluOp& glu) {
  const Sides sides{product_for<graph::GluOp>(lowering, glu.gate),
                    product_for<graph::GluOp>(lowering, glu.up)};
  if (sides.gate == nullptr || sides.up == nullptr || sides.gate->x != sides.up->x) return {};
  return sides;
}

class GatedLinearStep final : public Step {
 public:
  GatedLinearStep(const Product& gate, const Product& up, graph::Activation activation,
                  BufferId out, RowKind rows, std::int64_t product_scratch)
      : gate_(gate),
        up_(up),
        activation_(static_cast<std::size_t>(activation)),
        out_(out),
        rows_(rows),
        product_scratch_(product_scratch) {}

  std::array<std::span<const std::byte>, 2> weights(int thread, int threads) const override {
    return {gate_.share(thread, threads), up_.share(thread, threads)};
  }

  void run(const StepContext& context) const override {
    const std::int64_t n = context.count(rows_);
    if (n == 0) return;
    const std::int64_t most = n > kFewRows ? kMostPanels : gate_.panels();
    const std::int64_t at_once = std::min(gate_.panels_at_once(context.threads), most);
    Product::Part last{};
    const auto do_part = [&](const Product::Part& part) {
      join(context, part, part.has_rows_of(last));
      last = part;
    };
    if (context.next_item == nullptr) {
      return context.hand_out(gate_.panels(), at_once, [&](std::int64_t begin, std::int64_t end) {
        for (; begin < end; begin += most) do_part({begin, std::min(begin + most, end), 0, n});
      });
    }
    const Product::Deal deal(gate_, at_once, n, context.threads);
    context.hand_out(deal.count(), 1, [&](std::int64_t i, std::int64_t) { do_part(deal.part(i)); });
  }

 private:
  void join(const StepContext& context, const Product::Part& part, bool same_rows) const {
    const std::int64_t stride = gate_.weight.rows, first = part.panel * kernels::kPanelRows;
    const std::int64_t width = std::min(part.end_panel * kernels::kPanelRows, stride) - first;
    float* out = context.floats(out_) + part.row * stride + first;
    auto* up = reinterpret_cast<float*>(context.scratch + product_scratch_);
    const bool alike = gate_.packed == up_.packed && gate_.weight.encoding == up_.weight.encoding;
    gate_.multiply(context, part, out, stride, false, alike && same_rows);
    up_.multiply(context, part, up, width, false, alike);
    for (std::int64_t row = part.row; row < part.end_row; ++row, out += stride, up += width)
      context.kernels.glu[activation_](out, up, width, out);
  }

  Product gate_, up_;
  std::size_t activation_;
  BufferId out_;
  RowKind rows_;
  std::int64_t product_scratch_;  ///< Of a thread's scratch; what `up_` gives lies behind it.
};

std::int64_t scratch_of(const Product& product) {
  return kernels::linear_scratch_bytes(product.weight.encoding, product.weight.cols);
}

}  // namespace

bool is_of_gated_linear(const Lowering& lowering, graph::ValueId product) {
  const auto* glu = lowering.only_reader<graph::GluOp>(product);
  return glu != nullptr && sides_of(lowering, *glu).gate != nullptr;
}

bool lower_gated_linear(Lowering& lowering, const graph::GluOp& glu, graph::ValueId out) {
  const Sides sides = sides_of(lowering, glu);
  if (sides.gate == nullptr) return false;
  const Product gate = product_of(lowering, *sides.gate), up = product_of(lowering, *sides.up);
  const graph::Value& value = lowering.value(out);
  const BufferId result = lowering.allocate(out);
  const std::int64_t scratch = std::max(scratch_of(gate), scratch_of(up));
  const std::int64_t part = std::min(kMostPanels, gate.panels()) * lowering.max_rows(value);
  const std::int64_t kept = std::max(part, gate.panels() * lowering.few_rows(value)) *
                            kernels::kPanelRows * static_cast<std::int64_t>(sizeof(float));
  lowering.add(
      std::make_unique<GatedLinearStep>(gate, up, glu.activation, result, RowKind(value), scratch),
      {Split::kOther,
       {gate.packed, up.packed},
       {result},
       scratch + kept,
       When::kAlways,
       "gated_linear"});
  return true;
}

}  // namespace quern::backends::cpu
