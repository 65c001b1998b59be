// Attention among the rows of each sequence of a step: both directions, no cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "backends/cpu/ops.h"
#include "backends/relative_positions.h"

namespace quern::backends::cpu {
namespace {

/// Rows of a work item where heads alone are too few for the threads: keys and values are laid out
/// once for all of an item.
constexpr std::int64_t kItemRows = 3 * kernels::kMaxQueries;

std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

struct EncoderShape {
  KvType kv;
  BufferId q, k, v, out;
  std::int64_t n_heads, n_kv_heads, head_dim, window, max_rows;
  float scale;
  BufferId position_keys, position_queries;  ///< −1: none.
  std::int64_t span;                         ///< Half the rows of those.
  graph::Disentangled disentangled;
  bool causal;

  bool has_positions() const noexcept { return position_keys >= 0 || position_queries >= 0; }
  std::int64_t max_blocks() const noexcept { return ceil_div(max_rows, kernels::kKvBlock); }
  std::int64_t key_block_bytes() const noexcept {
    return kernels::kv_key_block_bytes(kv, head_dim);
  }
  /// Of keys and values.
  std::int64_t block_bytes() const noexcept {
    return key_block_bytes() + kernels::kv_value_block_bytes(kv, head_dim);
  }
  std::int64_t state_bytes() const noexcept {
    return round_up(kernels::attention_state_floats(kernels::kMaxQueries, head_dim), 16) * 4;
  }
  /// One query's row of biases, whole blocks.
  std::int64_t bias_floats() const noexcept { return max_blocks() * kernels::kKvBlock; }
  std::int64_t bias_bytes() const noexcept {
    return has_positions() ? kernels::kMaxQueries * bias_floats() * 4 : 0;
  }
  /// Where the kernels' own scratch begins.
  std::int64_t kernel_scratch() const noexcept {
    return max_blocks() * block_bytes() + state_bytes() + bias_bytes();
  }
  std::int64_t scratch_bytes() const noexcept {
    return kernel_scratch() + std::max(kernels::kv_store_scratch_bytes(kv, head_dim),
                                       kernels::attention_scratch_bytes(kv, head_dim, head_dim));
  }
};

/// One head of one sequence: rows [begin, end) of the step.
struct HeadRows {
  std::int64_t begin, end, head;
};

class EncoderAttentionStep final : public Step {
 public:
  /// \param bias nullptr: none.
  EncoderAttentionStep(const EncoderShape& shape, std::shared_ptr<const DistanceBias> bias)
      : shape_(shape), bias_(std::move(bias)) {}

  void run(const StepContext& context) const override {
    const auto& starts = context.step.starts;
    const auto heads = static_cast<std::int64_t>(starts.size()) * shape_.n_heads;
    const std::int64_t item_rows = heads >= 4 * context.threads ? context.rows() : kItemRows;
    std::int64_t item = 0;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const std::int64_t begin = starts[i];
      const std::int64_t end = i + 1 < starts.size() ? starts[i + 1] : context.rows();
      for (std::int64_t head = 0; head < shape_.n_heads; ++head) {
        for (std::int64_t first = begin; first < end; first += item_rows, ++item) {
          if (item % context.threads != context.thread) continue;
          const HeadRows rows{begin, end, head};
          const kernels::KvHead keys = store(context, rows);
          const std::int64_t last = std::min(first + item_rows, end);
          for (std::int64_t row = first; row < last; row += kernels::kMaxQueries)
            attend(context, rows, keys, row, std::min(row + kernels::kMaxQueries, last));
        }
      }
    }
  }

 private:
  const float* at(const StepContext& context, BufferId id, std::int64_t row,
                  std::int64_t head) const noexcept {
    return context.floats(id) + (row * shape_.n_heads + head) * shape_.head_dim;
  }
  /// Of keys or values: what the query head `head` reads.
  const float* kv_at(const StepContext& context, BufferId id, std::int64_t row,
                     std::int64_t head) const noexcept {
    const std::int64_t kv_head = head / (shape_.n_heads / shape_.n_kv_heads);
    return context.floats(id) + (row * shape_.n_kv_heads + kv_head) * shape_.head_dim;
  }

  /// Lays keys and values of one head out in blocks, in this thread's scratch.
  kernels::KvHead store(const StepContext& context, const HeadRows& rows) const {
    const kernels::KvHead head{context.scratch, context.scratch + shape_.key_block_bytes(),
                               shape_.block_bytes(), kernels::kSpanBlocks * shape_.block_bytes()};
    // Kernels read whole blocks: what lies behind the sequence must be numbers.
    const std::int64_t whole = (rows.end - rows.begin) / kernels::kKvBlock;
    if (whole * kernels::kKvBlock < rows.end - rows.begin) {
      std::memset(context.scratch + whole * shape_.block_bytes(), 0,
                  static_cast<std::size_t>(shape_.block_bytes()));
    }
    const auto kv_store = context.kernels.kv_store[static_cast<std::size_t>(shape_.kv)];
    const std::int64_t stride = shape_.n_kv_heads * shape_.head_dim;
    kv_store({head, shape_.head_dim, shape_.head_dim, 0,
              kv_at(context, shape_.k, rows.begin, rows.head),
              kv_at(context, shape_.v, rows.begin, rows.head),
              context.scratch + shape_.kernel_scratch(), rows.end - rows.begin, stride, stride});
    return head;
  }

  /// Queries of rows [first, last), at most kMaxQueries.
  void attend(const StepContext& context, const HeadRows& rows, const kernels::KvHead& keys,
              std::int64_t first, std::int64_t last) const {
    std::array<const float*, kernels::kMaxQueries> q{}, bias{};
    std::array<float*, kernels::kMaxQueries> out{};
    std::array<std::int64_t, kernels::kMaxQueries> begin{}, end{};
    const std::int64_t length = rows.end - rows.begin;
    std::byte* scratch = context.scratch + shape_.max_blocks() * shape_.block_bytes();
    auto* bias_rows = reinterpret_cast<float*>(scratch + shape_.state_bytes());
    for (std::int64_t row = first; row < last; ++row) {
      const auto i = static_cast<std::size_t>(row - first);
      const std::int64_t pos = row - rows.begin;
      q[i] = at(context, shape_.q, row, rows.head);
      out[i] = context.floats(shape_.out) + (row * shape_.n_heads + rows.head) * shape_.head_dim;
      begin[i] = shape_.window > 0 ? std::max<std::int64_t>(0, pos - shape_.window) : 0;
      end[i] = shape_.window > 0 ? std::min(length, pos + shape_.window + 1) : length;
      if (shape_.causal) end[i] = pos + 1;
      if (shape_.has_positions()) {
        float* biases = bias_rows + static_cast<std::int64_t>(i) * shape_.bias_floats();
        position_biases(context, rows, row, biases);
        bias[i] = biases;
      } else if (bias_ != nullptr) {
        bias[i] = bias_->row(rows.head, pos);
      }
    }
    kernels::AttentionArgs args{};
    args.q = q.data();
    args.n_queries = last - first;
    args.head_dim = args.value_dim = shape_.head_dim;
    args.begin = begin.data();
    args.end = end.data();
    args.head = keys;
    args.block_begin = begin[0] / kernels::kKvBlock;
    args.block_end = ceil_div(end[static_cast<std::size_t>(last - first - 1)], kernels::kKvBlock);
    args.scale = shape_.scale;
    args.state = reinterpret_cast<float*>(scratch);
    args.scratch = context.scratch + shape_.kernel_scratch();
    args.bias = shape_.has_positions() || bias_ != nullptr ? bias.data() : nullptr;
    context.kernels.attention[static_cast<std::size_t>(shape_.kv)](args);
    context.kernels.attention_finish(last - first, shape_.head_dim, args.state, out.data());
  }

  /// What a query gains with every key of its sequence by content and relative position:
  /// scale·(q·K[position] + k·Q[position]).
  void position_biases(const StepContext& context, const HeadRows& rows, std::int64_t row,
                       float* biases) const {
    const float* q = at(context, shape_.q, row, rows.head);
    for (std::int64_t key = rows.begin; key < rows.end; ++key) {
      const std::int64_t bucket =
          log_bucket(row - key, shape_.disentangled.n_buckets, shape_.disentangled.max_distance);
      const std::int64_t position =
          std::clamp<std::int64_t>(bucket + shape_.span, 0, 2 * shape_.span - 1);
      float sum = 0;
      if (shape_.position_keys >= 0) {
        sum += context.kernels.dot(q, at(context, shape_.position_keys, position, rows.head),
                                   shape_.head_dim);
      }
      if (shape_.position_queries >= 0) {
        sum += context.kernels.dot(kv_at(context, shape_.k, key, rows.head),
                                   at(context, shape_.position_queries, position, rows.head),
                                   shape_.head_dim);
      }
      biases[key - rows.begin] = shape_.scale * sum;
    }
    // The kernel reads whole blocks; what lies behind the sequence must be numbers.
    std::fill(biases + (rows.end - rows.begin),
              biases + round_up(rows.end - rows.begin, kernels::kKvBlock), 0.0F);
  }

  EncoderShape shape_;
  std::shared_ptr<const DistanceBias> bias_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::EncoderAttentionOp& attention,
                graph::ValueId out) {
  const auto buffer_or_none = [&](graph::ValueId id) {
    return id == graph::kNone ? BufferId{-1} : lowering.buffer(id);
  };
  const graph::Disentangled& positions = attention.disentangled;
  const graph::ValueId table = positions.keys != graph::kNone ? positions.keys : positions.queries;
  const std::int64_t reach = lowering.options().max_rows - 1;
  const std::int64_t head_dim = lowering.value(attention.q).cols / attention.n_heads;
  QUERN_TRY(bias, lowering.distance_bias("encoder_attention", attention.bias, reach, reach));
  const KvType kv = lowering.options().encoder_kv;
  const EncoderShape shape{
      .kv = kv == KvType::kAuto ? KvType::kF32 : kv,
      .q = lowering.buffer(attention.q),
      .k = lowering.buffer(attention.k),
      .v = lowering.buffer(attention.v),
      .out = lowering.allocate(out),
      .n_heads = attention.n_heads,
      .n_kv_heads = lowering.value(attention.k).cols / head_dim,
      .head_dim = head_dim,
      .window = attention.window,
      .max_rows = lowering.options().max_rows,
      .scale = attention.scale,
      .position_keys = buffer_or_none(positions.keys),
      .position_queries = buffer_or_none(positions.queries),
      .span = table == graph::kNone ? 0 : lowering.value(table).count / 2,
      .disentangled = positions,
      .causal = attention.causal,
  };
  StepInfo info{Split::kOther, {shape.q, shape.k, shape.v}, {shape.out}, shape.scratch_bytes()};
  for (const BufferId id : {shape.position_keys, shape.position_queries}) {
    if (id >= 0) info.reads.push_back(id);
  }
  lowering.add(std::make_unique<EncoderAttentionStep>(shape, std::move(bias)), std::move(info));
  return {};
}

}  // namespace quern::backends::cpu
