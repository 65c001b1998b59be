#include "backends/cpu/fast_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/cpu/onednn.h"
#include "quant/registry.h"

namespace quern::backends::cpu {
namespace {

constexpr std::int64_t kChunkRows = 64;   // Rows of one oneDNN call; the last ones are padded.
constexpr std::int64_t kSliceCols = 128;  // Output columns of one call: threads share slices out.

/// One primitive for a width of slices, and the layout that it wants its weights in.
struct Product {
  DnnPrimitiveDesc desc;
  DnnPrimitive primitive;

  static Result<Product> create(const OneDnn& dnn, std::int64_t cols, std::int64_t k,
                                dnnl_data_type_t type) {
    QUERN_TRY(src, matrix(dnn, kChunkRows, k, type, dnnl_ab));
    QUERN_TRY(weights, matrix(dnn, k, cols, type, dnnl_format_tag_any));
    QUERN_TRY(dst, matrix(dnn, kChunkRows, cols, dnnl_f32, dnnl_ab));
    dnnl_matmul_desc_t matmul;
    QUERN_CHECK(OneDnn::status_of(dnn.matmul_desc_init(&matmul, &src, &weights, nullptr, &dst)));
    QUERN_TRY(attributes, make_handle<DnnAttributes>(dnn.primitive_attr_create));
    QUERN_CHECK(OneDnn::status_of(
        dnn.primitive_attr_set_scratchpad_mode(attributes.get(), dnnl_scratchpad_mode_user)));
    Product made;
    QUERN_TRY(desc, make_handle<DnnPrimitiveDesc>(dnn.primitive_desc_create, &matmul,
                                                  attributes.get(), dnn.engine, nullptr));
    made.desc = std::move(desc);
    QUERN_TRY(primitive, make_handle<DnnPrimitive>(dnn.primitive_create, made.desc.get()));
    made.primitive = std::move(primitive);
    return made;
  }

  /// Row-major `ab`, column-major `ba`, or whatever the primitive likes.
  static Result<dnnl_memory_desc_t> matrix(const OneDnn& dnn, std::int64_t rows, std::int64_t cols,
                                           dnnl_data_type_t type, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t made;
    const dnnl_dims_t dims{rows, cols};
    QUERN_CHECK(OneDnn::status_of(dnn.memory_desc_init_by_tag(&made, 2, dims, type, tag)));
    return made;
  }
};

/// Slices of the weight, repacked; everything that oneDNN needs, made once.
class PackedWeight {
 public:
  static Result<std::unique_ptr<PackedWeight>> create(const OneDnn& dnn,
                                                      const quant::TensorView& weight) {
    const bool has_amx = dnn.get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_amx;
    auto made = std::unique_ptr<PackedWeight>(
        new PackedWeight(dnn, has_amx ? dnnl_bf16 : dnnl_f32, weight.cols));
    QUERN_CHECK(made->add_slices(weight));
    return made;
  }

  struct Slice {
    std::int64_t first, cols;
    std::size_t product;
    DnnMemory weights;
  };
  const std::vector<Slice>& slices() const noexcept { return slices_; }
  dnnl_data_type_t type() const noexcept { return type_; }

  std::int64_t scratchpad_bytes() const {
    std::size_t most = 0;
    for (const Product& product : products_)
      most = std::max(most, dnn_.memory_desc_get_size(layout(product, dnnl_query_scratchpad_md)));
    return static_cast<std::int64_t>((most + 63) / 64 * 64);
  }

  /// out `[kChunkRows, slice.cols]` = source `[kChunkRows, k]` · the slice's weights.
  Status multiply(const Slice& slice, std::byte* source, float* out, std::byte* own) const {
    const Product& product = products_[slice.product];
    QUERN_TRY(src, memory(product, dnnl_query_src_md, source));
    QUERN_TRY(dst, memory(product, dnnl_query_dst_md, out));
    QUERN_TRY(scratchpad, memory(product, dnnl_query_scratchpad_md, own));
    return run(product.primitive.get(), {{DNNL_ARG_SRC, src.get()},
                                         {DNNL_ARG_WEIGHTS, slice.weights.get()},
                                         {DNNL_ARG_DST, dst.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratchpad.get()}});
  }

 private:
  PackedWeight(const OneDnn& dnn, dnnl_data_type_t type, std::int64_t k)
      : dnn_(dnn), type_(type), k_(k) {}

  const dnnl_memory_desc_t* layout(const Product& product, dnnl_query_t what) const {
    return dnn_.primitive_desc_query_md(product.desc.get(), what, 0);
  }

  Result<DnnMemory> memory(const Product& product, dnnl_query_t what, void* bytes) const {
    return make_handle<DnnMemory>(dnn_.memory_create, layout(product, what), dnn_.engine, bytes);
  }

  Status run(const_dnnl_primitive_t primitive,
             const std::vector<dnnl_exec_arg_t>& arguments) const {
    QUERN_TRY(stream, make_handle<DnnStream>(dnn_.stream_create, dnn_.engine,
                                             static_cast<unsigned>(dnnl_stream_default_flags)));
    QUERN_CHECK(OneDnn::status_of(dnn_.primitive_execute(
        primitive, stream.get(), static_cast<int>(arguments.size()), arguments.data())));
    return OneDnn::status_of(dnn_.stream_wait(stream.get()));
  }

  Status add_slices(const quant::TensorView& weight) {
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
      QUERN_CHECK(add_slice(rows.data(), first, cols));
    }
    return {};
  }

  /// `rows` `[cols, k]` float32 → the product's own layout.
  Status add_slice(float* rows, std::int64_t first, std::int64_t cols) {
    if (products_.empty() || slices_.back().cols != cols) {
      QUERN_TRY(product, Product::create(dnn_, cols, k_, type_));
      products_.push_back(std::move(product));
    }
    const Product& product = products_.back();
    const dnnl_memory_desc_t* wanted = layout(product, dnnl_query_weights_md);
    QUERN_TRY(given, Product::matrix(dnn_, k_, cols, dnnl_f32, dnnl_ba));
    QUERN_TRY(source, make_handle<DnnMemory>(dnn_.memory_create, &given, dnn_.engine,
                                             static_cast<void*>(rows)));
    QUERN_TRY(packed, memory(product, dnnl_query_weights_md, DNNL_MEMORY_ALLOCATE));
    QUERN_TRY(reorder, make_handle<DnnPrimitiveDesc>(dnn_.reorder_primitive_desc_create, &given,
                                                     dnn_.engine, wanted, dnn_.engine, nullptr));
    QUERN_TRY(primitive, make_handle<DnnPrimitive>(dnn_.primitive_create, reorder.get()));
    QUERN_CHECK(run(primitive.get(), {{DNNL_ARG_FROM, source.get()}, {DNNL_ARG_TO, packed.get()}}));
    slices_.push_back({first, cols, products_.size() - 1, std::move(packed)});
    return {};
  }

  const OneDnn& dnn_;
  dnnl_data_type_t type_;
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
    if (weight_->type() == dnnl_bf16) {
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
    try {
      return weight_
          ->multiply(slice, context.scratch, result(context),
                     context.scratch + layout_.source + layout_.result)
          .ok();
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
  QUERN_TRY(dnn, OneDnn::instance());
  auto packed = PackedWeight::create(*dnn, weight.view);
  if (!packed.ok()) return std::move(packed).error().of(weight.name);
  auto step = std::make_unique<FastLinearStep>(shape, std::move(packed).value(), std::move(exact));
  scratch_bytes = std::max(scratch_bytes, step->scratch_bytes());
  return std::unique_ptr<Step>(std::move(step));
}

}  // namespace quern::backends::cpu
