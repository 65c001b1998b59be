// Ops with a state that every row of a sequence changes. Rows follow one another in order, so
// threads take columns or heads: the bits do not depend on who takes which, nor on where a step
// ends.
#include <algorithm>
#include <optional>
#include <vector>

#include "backends/cpu/column_tail.h"
#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"
#include "backends/cpu/product.h"
#include "backends/cpu/recurrent.h"

namespace quern::backends::cpu {
namespace {

/// Calls visit(cache, first, last) for the rows of [begin, end) that every sequence of the step
/// has.
template <class Visit>
void for_each_sequence(const StepContext& context, std::int64_t begin, std::int64_t end,
                       Visit visit) {
  const auto sequence = [&](std::int64_t row) {
    return context.step.sequences[static_cast<std::size_t>(row)];
  };
  for (std::int64_t first = begin; first < end;) {
    std::int64_t last = first + 1;
    while (last < end && sequence(last) == sequence(first)) ++last;
    visit(*static_cast<const KvCache*>(sequence(first)), first, last);
    first = last;
  }
}

/// A causal convolution of columns and what is done to its results.
class Convolution final : public ColumnTail {
 public:
  struct Shape {
    BufferId x, out;
    const float* weight;  ///< `[cols, kernel]`
    const float* bias;    ///< Or nullptr.
    graph::StateId state;
    std::int64_t cols, kernel;
    std::optional<graph::Activation> activation;
  };
  explicit Convolution(const Shape& shape)
      : s_(shape), weight_(static_cast<std::size_t>(shape.cols * shape.kernel)) {
    for (std::int64_t c = 0; c < s_.cols; ++c) {
      for (std::int64_t k = 0; k < s_.kernel; ++k)
        weight_[static_cast<std::size_t>(k * s_.cols + c)] = s_.weight[c * s_.kernel + k];
    }
  }
  const Shape& shape() const noexcept { return s_; }

  void run(const StepContext& context, std::int64_t begin, std::int64_t end) const override {
    for_each_sequence(context, 0, context.rows(),
                      [&](const KvCache& cache, std::int64_t first, std::int64_t last) {
                        for (std::int64_t row = first; row < last; row += kRows)
                          convolve(context, cache, row, std::min(kRows, last - row), begin, end);
                      });
  }

 private:
  static constexpr std::int64_t kRows = 32;  ///< Of some columns: what the first cache holds.

  void convolve(const StepContext& context, const KvCache& cache, std::int64_t row,
                std::int64_t rows, std::int64_t begin, std::int64_t end) const {
    kernels::ConvArgs args{};
    args.rows = rows;
    args.cols = s_.cols;
    args.kernel = s_.kernel;
    args.begin = begin;
    args.end = end;
    args.weight = weight_.data();
    args.bias = s_.bias;
    args.x = context.floats(s_.x) + row * s_.cols;
    args.out = context.floats(s_.out) + row * s_.cols;
    args.past = cache.rolling(s_.state);
    args.silu = s_.activation == graph::Activation::kSilu;
    context.kernels.causal_conv(args);
    if (!s_.activation || args.silu) return;
    const auto activate = context.kernels.activation[static_cast<std::size_t>(*s_.activation)];
    for (std::int64_t t = 0; t < rows; ++t) {
      float* y = args.out + t * s_.cols + begin;
      activate(y, end - begin, y);
    }
  }

  Shape s_;
  std::vector<float> weight_;  ///< `[kernel, cols]`
};

/// A convolution of what is not a product's result.
class ConvolutionStep final : public Step {
 public:
  explicit ConvolutionStep(std::unique_ptr<const Convolution> convolution)
      : convolution_(std::move(convolution)) {}

  void run(const StepContext& context) const override {
    const std::int64_t cols = convolution_->shape().cols;
    const auto [first, last] = context.share((cols + kColumns - 1) / kColumns);
    if (first < last) convolution_->run(context, first * kColumns, std::min(last * kColumns, cols));
  }

 private:
  static constexpr std::int64_t kColumns = 16;  ///< What a kernel does at once.

  std::unique_ptr<const Convolution> convolution_;
};

/// A scan, and the product that makes its steps where nothing else needs them: they stay in the
/// first-level cache, and threads wait for each other once less.
class ScanStep final : public Step {
 public:
  struct Shape {
    BufferId x, dt, b, c, out;
    std::optional<Product> dt_product;  ///< In dt's place: a head has one column, and groups are 1.
    const float* a;
    const float* skip;
    const float* dt_bias;  ///< Or nullptr.
    graph::StateId state;
    std::int64_t heads, head_dim, state_dim, groups, a_per_head;
    float dt_min, dt_max;
  };
  explicit ScanStep(const Shape& shape) : s_(shape) {
    if (s_.a_per_head == 1) return;
    const std::int64_t columns = s_.heads * s_.head_dim / s_.groups;  // Of a group.
    const std::int64_t floats = (columns + kColumns - 1) / kColumns * kColumns * s_.state_dim;
    rates_.resize(static_cast<std::size_t>(floats * s_.groups));
    for (std::int64_t p = 0; p < columns * s_.groups; ++p) {
      const std::int64_t in_group = p % columns;
      const std::int64_t block = in_group / kColumns * kColumns * s_.state_dim;
      const std::int64_t first = p / columns * floats + block + in_group % kColumns;
      for (std::int64_t j = 0; j < s_.state_dim; ++j)
        rates_[static_cast<std::size_t>(first + j * kColumns)] =
            s_.a[p / s_.head_dim * s_.state_dim + j];
    }
  }

  std::array<std::span<const std::byte>, 2> weights(int thread, int threads) const override {
    if (!s_.dt_product) return {};
    return {s_.dt_product->share(thread, threads)};
  }

  void run(const StepContext& context) const override {
    const std::int64_t columns = s_.heads * s_.head_dim / s_.groups;  // Of a group.
    const std::int64_t blocks = ceil_div(columns, kColumns), n = context.rows();
    const auto [first, last] = context.share(blocks * s_.groups);
    for (std::int64_t block = first; block < last;) {
      const std::int64_t group = block / blocks, begin = block % blocks * kColumns;
      const std::int64_t end = std::min(columns, begin + (last - block) * kColumns);
      const Columns held{group, begin, std::min(end, begin + held_columns())};
      for (std::int64_t row = 0; row < n; row += rows_at_once())
        scan_held(context, held, row, std::min(row + rows_at_once(), n));
      block += ceil_div(held.end - held.begin, kColumns);
    }
  }

 private:
  static constexpr std::int64_t kColumns = kernels::kScanColumns, kHeads = kernels::kScanHeads;
  static_assert(kColumns == graph::kScanBlock && kColumns == kernels::kPanelRows);
  static_assert(kernels::kScanRows / 2 % kernels::kRowTile == 0);

  /// Columns [begin, end) of a group, which begin with a block.
  struct Columns {
    std::int64_t group, begin, end;
  };
  /// With own rates a call has few states, and its rows should stay in the first cache.
  std::int64_t rows_at_once() const noexcept {
    return s_.a_per_head == 1 ? kernels::kScanRows : kernels::kScanRows / 2;
  }
  std::int64_t state_numbers() const noexcept {
    return s_.state_dim + (s_.a_per_head == 1 ? 1 : 0);
  }
  /// Columns whose states stay in the second-level cache until the next rows come.
  std::int64_t held_columns() const noexcept {
    constexpr std::int64_t kNumbers = 65536, kTogether = 4 * kColumns;
    return std::max(kNumbers / state_numbers() / kTogether, std::int64_t{1}) * kTogether;
  }
  /// Where a call of the kernel ends that begins with column `begin`: with a block, after as many
  /// heads as a call may have.
  std::int64_t last_column(std::int64_t begin) const noexcept {
    const std::int64_t heads = (begin / s_.head_dim + kHeads) * s_.head_dim - begin;
    return begin + heads / kColumns * kColumns;
  }

  /// log(1 + e^x) of heads of a row, clamped.
  void step_sizes(const StepContext& context, const float* dt, std::int64_t head,
                  std::int64_t count, float* sizes) const {
    const kernels::KernelTable& kernels = context.kernels;
    if (s_.dt_bias == nullptr) {
      kernels.softplus(dt, count, sizes);
    } else {
      kernels.add(dt, s_.dt_bias + head, count, sizes);
      kernels.softplus(sizes, count, sizes);
    }
    if (s_.dt_min == s_.dt_max) return;
    for (std::int64_t i = 0; i < count; ++i)
      sizes[i] = std::min(std::max(sizes[i], s_.dt_min), s_.dt_max);
  }
  /// The same of rows [row, end): `[end − row, kHeads]`.
  void step_sizes(const StepContext& context, std::int64_t row, std::int64_t end, std::int64_t head,
                  std::int64_t count, bool same_rows, float* sizes) const {
    if (s_.dt_product) {
      const std::int64_t panel = head / kColumns;
      s_.dt_product->multiply(context, {panel, panel + ceil_div(count, kColumns), row, end}, sizes,
                              kHeads, false, same_rows);
    }
    const float* dt = s_.dt_product ? sizes : context.floats(s_.dt) + row * s_.heads + head;
    const std::int64_t stride = s_.dt_product ? kHeads : s_.heads;
    for (std::int64_t i = row; i < end; ++i, dt += stride, sizes += kHeads) {
      // The next call's: rows lie too far apart for the hardware to see them coming.
      for (std::int64_t k = 0; k < count && !s_.dt_product; k += 16)
        __builtin_prefetch(dt + (end - row) * stride + k);
      step_sizes(context, dt, head, count, sizes);
    }
  }

  /// Rows [begin, end) of columns that are held.
  void scan_held(const StepContext& context, const Columns& held, std::int64_t begin,
                 std::int64_t end) const {
    for (Columns some = held; some.begin < held.end; some.begin = some.end) {
      some.end = std::min(held.end, last_column(some.begin));
      scan(context, some, begin, end, some.begin > held.begin);
    }
  }

  /// \param same_rows whether the call before was for the same rows.
  void scan(const StepContext& context, const Columns& columns, std::int64_t begin,
            std::int64_t end, bool same_rows) const {
    const std::int64_t heads = s_.heads / s_.groups;  // Of a group.
    const std::int64_t block =
        columns.group * ceil_div(heads * s_.head_dim, kColumns) + columns.begin / kColumns;
    const std::int64_t first_head = columns.begin / s_.head_dim;
    const std::int64_t head = columns.group * heads + first_head;
    const std::int64_t count = (columns.end - 1) / s_.head_dim + 1 - first_head;
    float sizes[kernels::kScanRows * kHeads];
    step_sizes(context, begin, end, head, count, same_rows, sizes);
    kernels::ScanArgs args{};
    args.columns = columns.end - columns.begin;
    args.offset = columns.begin % s_.head_dim;
    args.head_dim = s_.head_dim;
    args.n = s_.state_dim;
    args.a = s_.a_per_head == 1 ? s_.a + head : rates_.data() + block * kColumns * s_.state_dim;
    args.rates = s_.a_per_head;
    args.skip = s_.skip + head;
    args.step_stride = kHeads;
    args.b_stride = s_.groups * s_.state_dim;
    args.x_stride = s_.heads * s_.head_dim;
    const std::int64_t column = columns.group * heads * s_.head_dim + columns.begin;
    for_each_sequence(
        context, begin, end, [&](const KvCache& cache, std::int64_t first, std::int64_t last) {
          const std::int64_t number = first * args.b_stride + columns.group * s_.state_dim;
          const std::int64_t at = first * args.x_stride + column;
          args.rows = last - first;
          args.step = sizes + (first - begin) * kHeads;
          args.b = context.floats(s_.b) + number;
          args.c = context.floats(s_.c) + number;
          args.x = context.floats(s_.x) + at;
          args.out = context.floats(s_.out) + at;
          args.state = cache.rolling(s_.state) + block * kColumns * state_numbers();
          context.kernels.scan(args);
        });
  }

  Shape s_;
  std::vector<float> rates_;  ///< Own rates by column, laid out as the state.
};

/// The product that makes the steps of a scan, where the scan can do it; else nullptr.
const graph::LinearOp* product_of_steps(const Lowering& lowering, const graph::ScanOp& scan) {
  if (scan.head_dim != 1 || scan.groups != 1) return nullptr;
  return product_for<graph::ScanOp>(lowering, scan.dt);
}

const float* vector_or_null(const Lowering& lowering, graph::WeightId id) {
  return id == graph::kNone ? nullptr : lowering.weight(id).view.f32();
}

/// `out` is the convolution's; where an activation alone reads it, it is done too.
std::unique_ptr<const Convolution> make_convolution(Lowering& lowering,
                                                    const graph::CausalConvOp& conv,
                                                    graph::ValueId out) {
  std::optional<graph::Activation> activation;
  if (const auto* follower = lowering.only_reader<graph::ActivationOp>(out)) {
    activation = follower->activation;
    out = lowering.take_reader(out);
  }
  const BufferId x = lowering.buffer(conv.x);
  return std::make_unique<Convolution>(
      Convolution::Shape{x, lowering.allocate(out), vector_or_null(lowering, conv.weight),
                         vector_or_null(lowering, conv.bias), conv.state,
                         lowering.value(conv.x).cols, conv.kernel, activation});
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::CausalConvOp& conv, graph::ValueId out) {
  auto convolution = make_convolution(lowering, conv, out);
  const BufferId x = convolution->shape().x, result = convolution->shape().out;
  lowering.add(std::make_unique<ConvolutionStep>(std::move(convolution)),
               {Split::kOther, {x}, {result}});
  return {};
}

TakenTail take_convolution(Lowering& lowering, graph::ValueId x) {
  const auto* conv = lowering.only_reader<graph::CausalConvOp>(x);
  if (conv == nullptr) return {};
  auto convolution = make_convolution(lowering, *conv, lowering.take_reader(x));
  const BufferId out = convolution->shape().out;
  return {std::move(convolution), out};
}

bool is_of_scan(const Lowering& lowering, graph::ValueId product) {
  const auto* scan = lowering.only_reader<graph::ScanOp>(product);
  return scan != nullptr && scan->dt == product && product_of_steps(lowering, *scan) != nullptr;
}

Status lower_op(Lowering& lowering, const graph::ScanOp& scan, graph::ValueId out) {
  ScanStep::Shape shape{};
  StepInfo step{Split::kOther, {}, {}};
  if (const graph::LinearOp* linear = product_of_steps(lowering, scan)) {
    shape.dt_product = product_of(lowering, *linear);
    const quant::TensorView& weight = shape.dt_product->weight;
    step.scratch_bytes = kernels::linear_scratch_bytes(weight.encoding, weight.cols);
    step.reads.push_back(shape.dt_product->packed);
  } else {
    shape.dt = lowering.buffer(scan.dt);
    step.reads.push_back(shape.dt);
  }
  shape.x = lowering.buffer(scan.x);
  shape.b = lowering.buffer(scan.b);
  shape.c = lowering.buffer(scan.c);
  step.reads.insert(step.reads.end(), {shape.x, shape.b, shape.c});
  shape.out = lowering.allocate(out);
  step.writes.push_back(shape.out);
  shape.a = vector_or_null(lowering, scan.a);
  shape.skip = vector_or_null(lowering, scan.skip);
  shape.dt_bias = vector_or_null(lowering, scan.dt_bias);
  shape.state = scan.state;
  shape.heads = lowering.value(scan.dt).cols;
  shape.head_dim = scan.head_dim;
  shape.state_dim = lowering.value(scan.b).cols / scan.groups;
  shape.groups = scan.groups;
  shape.a_per_head = lowering.weight(scan.a).view.cols / shape.heads;
  shape.dt_min = scan.dt_min;
  shape.dt_max = scan.dt_max;
  lowering.add(std::make_unique<ScanStep>(shape), std::move(step));
  return {};
}

}  // namespace quern::backends::cpu
