#include "backends/cpu/fast_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "quant/registry.h"

namespace quern::backends::cpu {
namespace {

constexpr std::int64_t kChunkRows = 64;   // Rows of one oneDNN call; the last ones are padded.
constexpr std::int64_t kSliceCols = 128;  // Output columns of one call: threads share slices out.

using dnnl::memory;

const dnnl::engine& engine() {
  static const dnnl::engine kEngine(dnnl::engine::kind::cpu, 0);
  return kEngine;
}

bool has_amx() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx; }

/// One primitive for a width of slices, and the layout that it wants its weights in.
struct Product {
  dnnl::matmul::primitive_desc desc;
  dnnl::matmul primitive;

  Product(std::int64_t cols, std::int64_t k, memory::data_type type) {
    const memory::desc src({kChunkRows, k}, type, memory::format_tag::ab);
    const memory::desc weights({k, cols}, type, memory::format_tag::any);
    const memory::desc dst({kChunkRows, cols}, memory::data_type::f32, memory::format_tag::ab);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    desc =
        dnnl::matmul::primitive_desc(dnnl::matmul::desc(src, weights, dst), attributes, engine());
    primitive = dnnl::matmul(desc);
  }
};

/// Slices of the weight, repacked; everything that oneDNN needs, made once.
class PackedWeight {
 public:
  PackedWeight(const quant::TensorView& weight, memory::data_type type)
      : type_(type), k_(weight.cols) {
    dnnl::stream stream(engine());
    std::vector<float> rows(static_cast<std::size_t>(kSliceCols * k_));
    const std::uint64_t panel =
        *panel_bytes(*find_encoding(weight.encoding), static_cast<std::uint64_t>(k_));
    const quant::EncodingOps& ops = *quant::find_ops(weight.encoding);
    const std::byte* next = weight.data;
    for (std::int64_t first = 0; first < weight.rows; first += kSliceCols) {
      const std::int64_t cols = std::min(kSliceCols, weight.rows - first);
      // Whole panels, also the last one: a slice has room for them.
      static_assert(kSliceCols % quant::kPanelRows == 0);
      for (std::int64_t row = 0; row < cols; row += quant::kPanelRows, next += panel)
        ops.dequantize_panel(next, k_, rows.data() + row * k_);
      add_slice(stream, rows.data(), first, cols);
    }
    stream.wait();
  }

  struct Slice {
    std::int64_t first, cols;
    std::size_t product;
    memory weights;
  };
  const std::vector<Slice>& slices() const noexcept { return slices_; }
  const Product& product(const Slice& slice) const noexcept { return products_[slice.product]; }
  memory::data_type type() const noexcept { return type_; }

  std::int64_t scratchpad_bytes() const {
    std::size_t most = 0;
    for (const Product& product : products_)
      most = std::max(most, product.desc.scratchpad_desc().get_size());
    return static_cast<std::int64_t>((most + 63) / 64 * 64);
  }

 private:
  /// `rows` `[cols, k]` float32 → the product's own layout.
  void add_slice(dnnl::stream& stream, float* rows, std::int64_t first, std::int64_t cols) {
    if (products_.empty() || slices_.back().cols != cols) products_.emplace_back(cols, k_, type_);
    const memory source({{k_, cols}, memory::data_type::f32, memory::format_tag::ba}, engine(),
                        rows);
    memory packed(products_.back().desc.weights_desc(), engine());
    dnnl::reorder(source, packed).execute(stream, const_cast<memory&>(source), packed);
    stream.wait();
    slices_.push_back({first, cols, products_.size() - 1, packed});
  }

  memory::data_type type_;
  std::int64_t k_;
  std::vector<Product> products_;
  std::vector<Slice> slices_;
};

struct FastShape {
  BufferId x, out, residual;
  std::int64_t n, k;
  const float* bias;
  RowKind rows;
};

/// A thread's scratch: source rows, result, oneDNN's own.
struct ScratchLayout {
  std::int64_t source, result, own;

  static ScratchLayout of(const PackedWeight& weight, std::int64_t k) {
    return {kChunkRows * k * static_cast<std::int64_t>(sizeof(float)),
            kChunkRows * kSliceCols * static_cast<std::int64_t>(sizeof(float)),
            weight.scratchpad_bytes()};
  }
  std::int64_t total() const noexcept { return source + result + own; }
};

class FastLinearStep final : public Step {
 public:
  FastLinearStep(const FastShape& shape, std::unique_ptr<PackedWeight> weight,
                 std::unique_ptr<Step> exact)
      : shape_(shape),
        weight_(std::move(weight)),
        exact_(std::move(exact)),
        layout_(ScratchLayout::of(*weight_, shape.k)) {}

  void run(const StepContext& context) const override {
    const std::int64_t n = context.count(shape_.rows);
    if (n < kFastRows) {
      exact_->run(context);
      return;
    }
    const auto slices = static_cast<std::int64_t>(weight_->slices().size());
    const auto [begin, end] = context.share(slices);
    for (std::int64_t row = 0; row < n; row += kChunkRows) {
      const std::int64_t rows = std::min(kChunkRows, n - row);
      if (begin < end) load_rows(context, row, rows);
      for (std::int64_t i = begin; i < end; ++i) {
        const PackedWeight::Slice& slice = weight_->slices()[static_cast<std::size_t>(i)];
        if (!multiply(context, slice))
          std::fill_n(result(context), rows * slice.cols, std::nanf(""));
        store(context, slice, row, rows);
      }
    }
  }

  std::int64_t scratch_bytes() const noexcept { return layout_.total(); }

 private:
  /// Rows in the product's type; rows beyond the step are zero.
  void load_rows(const StepContext& context, std::int64_t first, std::int64_t rows) const {
    const float* x = context.floats(shape_.x) + first * shape_.k;
    const std::int64_t n = rows * shape_.k;
    if (weight_->type() == memory::data_type::bf16) {
      auto* out = reinterpret_cast<std::uint16_t*>(context.scratch);
      std::transform(x, x + n, out, quant::f32_to_bf16);
      std::fill(out + n, out + kChunkRows * shape_.k, std::uint16_t{0});
    } else {
      auto* out = reinterpret_cast<float*>(context.scratch);
      std::copy_n(x, n, out);
      std::fill(out + n, out + kChunkRows * shape_.k, 0.0F);
    }
  }

  float* result(const StepContext& context) const noexcept {
    return reinterpret_cast<float*>(context.scratch + layout_.source);
  }

  /// result = source · slice. \return false where oneDNN fails (a step may not throw).
  bool multiply(const StepContext& context, const PackedWeight::Slice& slice) const noexcept {
    const Product& product = weight_->product(slice);
    try {
      const memory source(product.desc.src_desc(), engine(), context.scratch);
      const memory out(product.desc.dst_desc(), engine(), result(context));
      const memory own(product.desc.scratchpad_desc(), engine(),
                       context.scratch + layout_.source + layout_.result);
      dnnl::stream stream(engine());
      product.primitive.execute(stream, {{DNNL_ARG_SRC, source},
                                         {DNNL_ARG_WEIGHTS, slice.weights},
                                         {DNNL_ARG_DST, out},
                                         {DNNL_ARG_SCRATCHPAD, own}});
      stream.wait();
      return true;
    } catch (...) {
      return false;
    }
  }

  void store(const StepContext& context, const PackedWeight::Slice& slice, std::int64_t first,
             std::int64_t rows) const {
    for (std::int64_t row = 0; row < rows; ++row) {
      float* y = result(context) + row * slice.cols;
      const std::int64_t at = (first + row) * shape_.n + slice.first;
      if (shape_.bias != nullptr) context.kernels.add(y, shape_.bias + slice.first, slice.cols, y);
      if (shape_.residual >= 0)
        context.kernels.add(context.floats(shape_.residual) + at, y, slice.cols, y);
      std::copy_n(y, slice.cols, context.floats(shape_.out) + at);
    }
  }

  FastShape shape_;
  std::unique_ptr<PackedWeight> weight_;
  std::unique_ptr<Step> exact_;
  ScratchLayout layout_;
};

}  // namespace

bool has_fast_linear(Encoding encoding) noexcept {
  return encoding == Encoding::kF32 || encoding == Encoding::kF16 || encoding == Encoding::kBF16;
}

Result<std::unique_ptr<Step>> make_fast_linear(Lowering& lowering, const graph::LinearOp& op,
                                               BufferId x, BufferId out, BufferId residual,
                                               std::unique_ptr<Step> exact,
                                               std::int64_t& scratch_bytes) {
  const graph::Weight& weight = lowering.weight(op.weight);
  const FastShape shape{x,
                        out,
                        residual,
                        weight.view.rows,
                        weight.view.cols,
                        op.bias == graph::kNone ? nullptr : lowering.weight(op.bias).view.f32(),
                        RowKind(lowering.value(op.x))};
  try {
    auto packed = std::make_unique<PackedWeight>(
        weight.view, has_amx() ? memory::data_type::bf16 : memory::data_type::f32);
    auto step = std::make_unique<FastLinearStep>(shape, std::move(packed), std::move(exact));
    scratch_bytes = std::max(scratch_bytes, step->scratch_bytes());
    return std::unique_ptr<Step>(std::move(step));
  } catch (const dnnl::error& error) {
    return Error(error.status == dnnl_out_of_memory ? ErrorCode::kOutOfMemory
                                                    : ErrorCode::kUnsupported,
                 "oneDNN cannot run a linear layer")
        .of(weight.name)
        .got(error.what());
  }
}

}  // namespace quern::backends::cpu
