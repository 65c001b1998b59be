// Ops with a state that every row of a sequence changes. Rows follow one another in order, so
// threads take columns or heads: the bits do not depend on who takes which, nor on where a step
// ends.
#include <algorithm>
#include <optional>
#include <vector>

#include "backends/cpu/column_tail.h"
#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Calls visit(cache, first, last) for the rows of every sequence of the step.
template <class Visit>
void for_each_sequence(const StepContext& context, Visit visit) {
  const auto sequences = context.step.sequences;
  for (std::size_t first = 0; first < sequences.size();) {
    std::size_t last = first + 1;
    while (last < sequences.size() && sequences[last] == sequences[first]) ++last;
    visit(*static_cast<const KvCache*>(sequences[first]), static_cast<std::int64_t>(first),
          static_cast<std::int64_t>(last));
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
    for_each_sequence(context, [&](const KvCache& cache, std::int64_t first, std::int64_t last) {
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

class ScanStep final : public Step {
 public:
  struct Shape {
    BufferId x, dt, b, c, out;
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

  void run(const StepContext& context) const override {
    const std::int64_t columns = s_.heads * s_.head_dim / s_.groups;  // Of a group.
    const std::int64_t blocks = (columns + kColumns - 1) / kColumns;
    const auto [begin, end] = context.share(blocks * s_.groups);
    for_each_sequence(context, [&, begin = begin, end = end](
                                   const KvCache& cache, std::int64_t first, std::int64_t last) {
      for (std::int64_t block = begin; block < end;) {
        const std::int64_t group = block / blocks, in_group = block % blocks;
        Columns some{context, group, in_group * kColumns, columns};
        some.end = std::min(some.end, (in_group + end - block) * kColumns);
        some.end = std::min(some.end, last_column(some.begin));
        some.state = cache.rolling(s_.state) + block * kColumns * state_numbers();
        some.rates = rates_.data() + (rates_.empty() ? 0 : block * kColumns * s_.state_dim);
        const std::int64_t rows = rows_at_once();
        for (std::int64_t row = first; row < last; row += rows)
          scan(some, row, std::min(rows, last - row));
        block += (some.end - some.begin + kColumns - 1) / kColumns;
      }
    });
  }

 private:
  static constexpr std::int64_t kColumns = kernels::kScanColumns, kHeads = kernels::kScanHeads;
  static_assert(kColumns == graph::kScanBlock);

  /// Columns [begin, end) of a group, which begin with a block.
  struct Columns {
    const StepContext& context;
    std::int64_t group, begin, end;
    float* state = nullptr;        ///< Of column `begin`.
    const float* rates = nullptr;  ///< The same, where columns have their own.
  };
  /// With own rates a call has few states, and its rows should stay in the first cache.
  std::int64_t rows_at_once() const noexcept {
    return s_.a_per_head == 1 ? kernels::kScanRows : kernels::kScanRows / 2;
  }
  std::int64_t state_numbers() const noexcept {
    return s_.state_dim + (s_.a_per_head == 1 ? 1 : 0);
  }
  /// Where a call of the kernel ends that begins with column `begin`: with a block, after as many
  /// heads as a call may have, and while its states stay in the second-level cache until the next
  /// rows come.
  std::int64_t last_column(std::int64_t begin) const noexcept {
    constexpr std::int64_t kNumbers = 65536, kTogether = 4 * kColumns;
    const std::int64_t heads = (begin / s_.head_dim + kHeads) * s_.head_dim - begin;
    const std::int64_t held = std::max(kNumbers / state_numbers() / kTogether, std::int64_t{1});
    return begin + std::min(heads / kColumns * kColumns, held * kTogether);
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

  void scan(const Columns& columns, std::int64_t row, std::int64_t rows) const {
    const StepContext& context = columns.context;
    const std::int64_t heads = s_.heads / s_.groups;  // Of a group.
    const std::int64_t begin = columns.begin / s_.head_dim;
    const std::int64_t head = columns.group * heads + begin;
    const std::int64_t count = (columns.end - 1) / s_.head_dim + 1 - begin;
    float sizes[kernels::kScanRows * kHeads];
    const float* dt = context.floats(s_.dt) + row * s_.heads + head;
    for (std::int64_t i = 0; i < rows; ++i, dt += s_.heads) {
      // The next call's: rows lie too far apart for the hardware to see them coming.
      for (std::int64_t k = 0; k < count; k += 16) __builtin_prefetch(dt + rows * s_.heads + k);
      step_sizes(context, dt, head, count, sizes + i * kHeads);
    }
    const std::int64_t at = (row * s_.groups + columns.group) * s_.state_dim;
    const std::int64_t column =
        row * s_.heads * s_.head_dim + columns.group * heads * s_.head_dim + columns.begin;
    kernels::ScanArgs args{};
    args.rows = rows;
    args.columns = columns.end - columns.begin;
    args.offset = columns.begin % s_.head_dim;
    args.head_dim = s_.head_dim;
    args.n = s_.state_dim;
    args.a = s_.a_per_head == 1 ? s_.a + head : columns.rates;
    args.rates = s_.a_per_head;
    args.skip = s_.skip + head;
    args.step = sizes;
    args.step_stride = kHeads;
    args.b = context.floats(s_.b) + at;
    args.c = context.floats(s_.c) + at;
    args.b_stride = s_.groups * s_.state_dim;
    args.x = context.floats(s_.x) + column;
    args.out = context.floats(s_.out) + column;
    args.x_stride = s_.heads * s_.head_dim;
    args.state = columns.state;
    context.kernels.scan(args);
  }

  Shape s_;
  std::vector<float> rates_;  ///< Own rates by column, laid out as the state.
};

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

Status lower_op(Lowering& lowering, const graph::ScanOp& scan, graph::ValueId out) {
  const std::int64_t heads = lowering.value(scan.dt).cols;
  const ScanStep::Shape shape{lowering.buffer(scan.x),
                              lowering.buffer(scan.dt),
                              lowering.buffer(scan.b),
                              lowering.buffer(scan.c),
                              lowering.allocate(out),
                              vector_or_null(lowering, scan.a),
                              vector_or_null(lowering, scan.skip),
                              vector_or_null(lowering, scan.dt_bias),
                              scan.state,
                              heads,
                              scan.head_dim,
                              lowering.value(scan.b).cols / scan.groups,
                              scan.groups,
                              lowering.weight(scan.a).view.cols / heads,
                              scan.dt_min,
                              scan.dt_max};
  lowering.add(std::make_unique<ScanStep>(shape),
               {Split::kOther, {shape.x, shape.dt, shape.b, shape.c}, {shape.out}});
  return {};
}

}  // namespace quern::backends::cpu
