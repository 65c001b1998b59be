#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Blocks of 64 positions that are attended to as one unit. Part of the numerics law: a query's
/// result is the merge, in order, of the states of its spans, whoever computed them.
constexpr std::int64_t kSpanBlocks = 4;
constexpr std::int64_t kSpanPositions = kSpanBlocks * kernels::kKvBlock;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

struct AttentionShape {
  BufferId q, k, v, out;
  BufferId stored;    ///< A mark: the step's keys and values stand in the cache.
  BufferId partials;  ///< States of spans, of steps of few rows.
  graph::StateId state;
  std::int64_t n_heads, n_kv_heads, head_dim, value_dim, window;
  float scale, softcap;
  KvType kv;
  std::int64_t max_spans;

  std::int64_t group() const noexcept { return n_heads / n_kv_heads; }
  /// Query heads of one KV head that one call takes; more heads are several chunks.
  std::int64_t chunk_heads() const noexcept { return std::min(group(), kernels::kMaxQueries); }
  std::int64_t chunks() const noexcept { return ceil_div(group(), chunk_heads()); }
  std::int64_t tile_rows() const noexcept {
    return std::max<std::int64_t>(1, kernels::kMaxQueries / group());
  }
  std::int64_t value_dim16() const noexcept { return round_up(value_dim, 16); }
  /// Floats of the running state (m, l, acc) of kMaxQueries queries.
  std::int64_t state_floats() const noexcept { return kernels::kMaxQueries * (2 + value_dim16()); }
  /// Work items of `rows` rows: (row tile, KV head, chunk of heads).
  std::int64_t items(std::int64_t rows) const noexcept {
    return ceil_div(rows, tile_rows()) * n_kv_heads * chunks();
  }
};

/// The state of up to kMaxQueries queries: m, l, acc in one piece of memory.
struct QueryState {
  float* m;
  float* l;
  float* acc;

  static QueryState at(float* memory) noexcept {
    return {memory, memory + kernels::kMaxQueries, memory + 2 * kernels::kMaxQueries};
  }
  void clear(std::int64_t queries, std::int64_t dim16) const noexcept {
    std::fill_n(m, queries, -std::numeric_limits<float>::infinity());
    std::fill_n(l, queries, 0.0F);
    std::fill_n(acc, queries * dim16, 0.0F);
  }
};

/// The queries of one work item that belong to one sequence: consecutive rows × heads of a chunk.
struct QueryTile {
  std::array<const float*, kernels::kMaxQueries> q;
  std::array<std::int64_t, kernels::kMaxQueries> begin, end;
  std::array<float*, kernels::kMaxQueries> out;
  std::int64_t queries = 0;
  std::int64_t first_span = 0, last_span = 0;  ///< Of all queries, last exclusive.
  kernels::KvHead head{};
};

/// Walks the sequences of an item's rows and calls `visit(tile)` for each.
template <class Visit>
void for_each_tile(const AttentionShape& shape, const StepContext& context, std::int64_t item,
                   Visit visit) {
  const std::int64_t chunk = item % shape.chunks();
  const std::int64_t kv_head = item / shape.chunks() % shape.n_kv_heads;
  const std::int64_t row_tile = item / shape.chunks() / shape.n_kv_heads;
  const std::int64_t row_end = std::min((row_tile + 1) * shape.tile_rows(), context.rows());
  const std::int64_t head_begin = kv_head * shape.group() + chunk * shape.chunk_heads();
  const std::int64_t head_end =
      std::min(head_begin + shape.chunk_heads(), (kv_head + 1) * shape.group());

  std::int64_t row = row_tile * shape.tile_rows();
  while (row < row_end) {
    const SequenceState* sequence = context.step.sequences[static_cast<std::size_t>(row)];
    QueryTile tile;
    tile.head = static_cast<const KvCache*>(sequence)->head(shape.state, kv_head);
    tile.first_span = std::numeric_limits<std::int64_t>::max();
    for (; row < row_end && context.step.sequences[static_cast<std::size_t>(row)] == sequence;
         ++row) {
      const std::int64_t pos = context.step.positions[static_cast<std::size_t>(row)];
      const std::int64_t begin =
          shape.window > 0 ? std::max<std::int64_t>(0, pos - shape.window + 1) : 0;
      tile.first_span = std::min(tile.first_span, begin / kSpanPositions);
      tile.last_span = std::max(tile.last_span, pos / kSpanPositions + 1);
      for (std::int64_t head = head_begin; head < head_end; ++head) {
        const auto i = static_cast<std::size_t>(tile.queries++);
        tile.q[i] = context.floats(shape.q) + (row * shape.n_heads + head) * shape.head_dim;
        tile.out[i] = context.floats(shape.out) + (row * shape.n_heads + head) * shape.value_dim;
        tile.begin[i] = begin;
        tile.end[i] = pos + 1;
      }
    }
    visit(tile);
  }
}

/// The state of one span from nothing.
void attend_span(const AttentionShape& shape, const StepContext& context, const QueryTile& tile,
                 std::int64_t span, const QueryState& state, std::byte* scratch) {
  state.clear(tile.queries, shape.value_dim16());
  const auto queries = static_cast<std::size_t>(tile.queries);
  const std::int64_t first = *std::min_element(tile.begin.begin(), tile.begin.begin() + queries);
  const std::int64_t last = *std::max_element(tile.end.begin(), tile.end.begin() + queries);
  const std::int64_t block_begin = std::max(span * kSpanBlocks, first / kernels::kKvBlock);
  const std::int64_t block_end =
      std::min((span + 1) * kSpanBlocks, ceil_div(last, kernels::kKvBlock));
  context.kernels.attention[static_cast<std::size_t>(shape.kv)](
      {tile.q.data(), tile.queries, shape.head_dim, shape.value_dim, tile.begin.data(),
       tile.end.data(), tile.head, block_begin, block_end, shape.scale, shape.softcap, nullptr,
       state.m, state.l, state.acc, scratch});
}

/// Adds a span's state to the running one; a query that saw nothing in the span is left alone.
void merge_span(const AttentionShape& shape, const StepContext& context, std::int64_t queries,
                const QueryState& total, const QueryState& span) {
  for (std::int64_t i = 0; i < queries; ++i) {
    if (span.m[i] == -std::numeric_limits<float>::infinity()) continue;
    context.kernels.attention_merge(total.m + i, total.l + i, total.acc + i * shape.value_dim16(),
                                    span.m[i], span.l[i], span.acc + i * shape.value_dim16(),
                                    shape.value_dim);
  }
}

void finish_tile(const AttentionShape& shape, const StepContext& context, const QueryTile& tile,
                 const QueryState& total) {
  for (std::int64_t i = 0; i < tile.queries; ++i) {
    context.kernels.attention_finish(total.l[i], total.acc + i * shape.value_dim16(),
                                     shape.value_dim, tile.out[static_cast<std::size_t>(i)]);
  }
}

/// Writes keys and values of all rows; threads take KV heads, so no two touch one byte.
class KvStoreStep final : public Step {
 public:
  explicit KvStoreStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const auto store = context.kernels.kv_store[static_cast<std::size_t>(shape_.kv)];
    const auto [begin, end] = context.share(shape_.n_kv_heads);
    for (std::int64_t row = 0; row < context.rows(); ++row) {
      const auto* cache =
          static_cast<const KvCache*>(context.step.sequences[static_cast<std::size_t>(row)]);
      for (std::int64_t head = begin; head < end; ++head) {
        const std::int64_t at = row * shape_.n_kv_heads + head;
        store({cache->head(shape_.state, head), shape_.head_dim, shape_.value_dim,
               context.step.positions[static_cast<std::size_t>(row)],
               context.floats(shape_.k) + at * shape_.head_dim,
               context.floats(shape_.v) + at * shape_.value_dim});
      }
    }
  }

 private:
  AttentionShape shape_;
};

/// Many rows: threads take items and walk the spans of each.
class AttendStep final : public Step {
 public:
  explicit AttendStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const std::int64_t items = shape_.items(context.rows());
    auto* floats = reinterpret_cast<float*>(context.scratch);
    const QueryState total = QueryState::at(floats);
    const QueryState one = QueryState::at(floats + shape_.state_floats());
    auto* scratch = reinterpret_cast<std::byte*>(floats + 2 * shape_.state_floats());
    for (std::int64_t item = context.thread; item < items; item += context.threads) {
      for_each_tile(shape_, context, item, [&](const QueryTile& tile) {
        total.clear(tile.queries, shape_.value_dim16());
        for (std::int64_t span = tile.first_span; span < tile.last_span; ++span) {
          attend_span(shape_, context, tile, span, one, scratch);
          merge_span(shape_, context, tile.queries, total, one);
        }
        finish_tile(shape_, context, tile, total);
      });
    }
  }

 private:
  AttentionShape shape_;
};

/// Walks the states in `partials` of the spans of a step of few rows: visit(tile, span, state).
template <class Visit>
void for_each_partial(const AttentionShape& shape, const StepContext& context, Visit visit) {
  const std::int64_t items = shape.items(context.rows());
  for (std::int64_t item = 0; item < items; ++item) {
    std::int64_t query_base = 0;
    for_each_tile(shape, context, item, [&](const QueryTile& tile) {
      for (std::int64_t span = tile.first_span; span < tile.last_span; ++span) {
        // Several sequences of one item keep their queries side by side in the item's memory.
        QueryState state = QueryState::at(context.floats(shape.partials) +
                                          (item * shape.max_spans + span) * shape.state_floats());
        state.m += query_base;
        state.l += query_base;
        state.acc += query_base * shape.value_dim16();
        visit(tile, span, state);
      }
      query_base += tile.queries;
    });
  }
}

/// Few rows: threads take spans.
class AttendSpansStep final : public Step {
 public:
  explicit AttendSpansStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    std::int64_t turn = 0;
    for_each_partial(shape_, context,
                     [&](const QueryTile& tile, std::int64_t span, const QueryState& state) {
                       if (turn++ % context.threads != context.thread) return;
                       attend_span(shape_, context, tile, span, state, context.scratch);
                     });
  }

 private:
  AttentionShape shape_;
};

/// Few rows, after AttendSpansStep: merges the states of the spans in their order. It goes by rows,
/// of which there is one tile: all.
class MergeStep final : public Step {
 public:
  explicit MergeStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const QueryState total = QueryState::at(reinterpret_cast<float*>(context.scratch));
    for_each_partial(shape_, context,
                     [&](const QueryTile& tile, std::int64_t span, const QueryState& state) {
                       if (span == tile.first_span) total.clear(tile.queries, shape_.value_dim16());
                       merge_span(shape_, context, tile.queries, total, state);
                       if (span + 1 == tile.last_span) finish_tile(shape_, context, tile, total);
                     });
  }

 private:
  AttentionShape shape_;
};

}  // namespace

Status lower_attention(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& attention = *std::get_if<graph::AttentionOp>(&op);
  const graph::KvState& state = lowering.graph().states[static_cast<std::size_t>(attention.state)];
  const auto kv = static_cast<std::size_t>(lowering.kv());
  if (lowering.kernels().attention[kv] == nullptr || lowering.kernels().kv_store[kv] == nullptr) {
    return Error(ErrorCode::kUnsupported, "the cpu backend lacks attention for a kind of KV cache")
        .of("attention")
        .got(std::to_string(kv));
  }
  AttentionShape shape{};
  shape.q = lowering.buffer(attention.q);
  shape.k = lowering.buffer(attention.k);
  shape.v = lowering.buffer(attention.v);
  shape.state = attention.state;
  shape.n_heads = attention.n_heads;
  shape.n_kv_heads = state.n_kv_heads;
  shape.head_dim = state.head_dim;
  shape.value_dim = state.value_dim;
  shape.window = state.window;
  shape.scale = attention.scale;
  shape.softcap = attention.softcap;
  shape.kv = lowering.kv();
  shape.max_spans = ceil_div(lowering.options().max_positions, kSpanPositions);
  shape.out = lowering.allocate(out);
  shape.stored = lowering.new_buffer(0, 0);
  shape.partials = lowering.new_buffer(
      0, shape.items(lowering.few_rows(lowering.value(attention.q))) * shape.max_spans *
             shape.state_floats() * static_cast<std::int64_t>(sizeof(float)));

  const std::int64_t scratch =
      2 * shape.state_floats() * static_cast<std::int64_t>(sizeof(float)) +
      kernels::attention_scratch_bytes(shape.kv, shape.head_dim, shape.value_dim);
  lowering.add(std::make_unique<KvStoreStep>(shape),
               {Split::kOther, {shape.k, shape.v}, {shape.stored}});
  lowering.add(std::make_unique<AttendStep>(shape),
               {Split::kOther, {shape.q, shape.stored}, {shape.out}, scratch, When::kMany});
  lowering.add(std::make_unique<AttendSpansStep>(shape),
               {Split::kOther, {shape.q, shape.stored}, {shape.partials}, scratch, When::kFew});
  lowering.add(std::make_unique<MergeStep>(shape),
               {Split::kRows, {shape.partials}, {shape.out}, scratch, When::kFew});
  return {};
}

}  // namespace quern::backends::cpu
