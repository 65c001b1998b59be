#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

constexpr std::int64_t kSpanPositions = kernels::kSpanBlocks * kernels::kKvBlock;

struct AttentionShape {
  BufferId q, out;
  BufferId partials;  ///< States of spans, of steps of few rows.
  graph::StateId state;
  std::int64_t n_heads, n_kv_heads, head_dim, value_dim, window;
  float scale, softcap;
  const float* alibi_slopes;                 ///< Per head, or nullptr.
  const float* sinks;                        ///< Per head, or nullptr.
  std::shared_ptr<const DistanceBias> bias;  ///< Or nullptr.
  bool source;                               ///< All rows of the sequence's source are visible.
  KvType kv;
  std::int64_t max_spans;

  std::int64_t group() const noexcept { return n_heads / n_kv_heads; }
  /// Query heads of one KV head that one call takes; more heads are several chunks.
  std::int64_t chunk_heads() const noexcept { return std::min(group(), kernels::kMaxQueries); }
  std::int64_t chunks() const noexcept { return ceil_div(group(), chunk_heads()); }
  /// Rows of a tile: as many as one call takes, fewer where threads would go without one.
  std::int64_t tile_rows(std::int64_t rows, int threads) const noexcept {
    const std::int64_t most = std::max<std::int64_t>(1, kernels::kMaxQueries / chunk_heads());
    if (rows <= kFewRows) return most;
    const std::int64_t per_head = ceil_div(4 * threads, n_kv_heads * chunks());
    return std::clamp<std::int64_t>(ceil_div(rows, per_head), 1, most);
  }
  std::int64_t state_floats(std::int64_t queries) const noexcept {
    return kernels::attention_state_floats(queries, value_dim);
  }
  /// Floats per query of a span's state: lanes are at most twice the queries (from 9 on they are
  /// rounded up to 16).
  std::int64_t query_floats() const noexcept { return 2 * state_floats(1); }
};

/// Consecutive rows of one sequence in a row tile, and what they see.
struct Run {
  const KvCache* cache;
  std::int64_t first_row, end_row;
  std::int64_t first_block, last_block;  ///< Of all its rows, last exclusive.

  std::int64_t rows() const noexcept { return end_row - first_row; }
  std::int64_t first_span() const noexcept { return first_block / kernels::kSpanBlocks; }
  std::int64_t last_span() const noexcept { return ceil_div(last_block, kernels::kSpanBlocks); }
  std::int64_t spans() const noexcept { return last_span() - first_span(); }
};

/// The queries of a run × a chunk of the query heads of one KV head.
struct QueryTile {
  std::array<const float*, kernels::kMaxQueries> q;
  std::array<std::int64_t, kernels::kMaxQueries> begin, end;
  std::array<float*, kernels::kMaxQueries> out;
  std::array<float, kernels::kMaxQueries> slope, sink;
  std::array<const float*, kernels::kMaxQueries> bias;
  std::int64_t queries = 0;
  std::int64_t first_head = 0;
  kernels::KvHead head{};
};

/// The work of a step: runs of rows × parts of heads, each a chunk of the query heads of one KV
/// head.
struct Items {
  const AttentionShape& shape;
  const StepContext& context;
  std::int64_t tile_rows = shape.tile_rows(context.rows(), context.threads);

  std::int64_t row_tiles() const noexcept { return ceil_div(context.rows(), tile_rows); }
  std::int64_t parts() const noexcept { return shape.n_kv_heads * shape.chunks(); }

  /// Walks the sequences of a row tile: visit(run).
  template <class Visit>
  void for_each_run(std::int64_t row_tile, Visit visit) const {
    const std::int64_t row_end = std::min((row_tile + 1) * tile_rows, context.rows());
    for (std::int64_t row = row_tile * tile_rows; row < row_end;) {
      const SequenceState* sequence = context.step.sequences[static_cast<std::size_t>(row)];
      Run run{static_cast<const KvCache*>(sequence), row, row,
              std::numeric_limits<std::int64_t>::max(), 0};
      for (; row < row_end && context.step.sequences[static_cast<std::size_t>(row)] == sequence;
           ++row) {
        const auto [begin, end] = visible(*run.cache, row);
        run.first_block = std::min(run.first_block, begin / kernels::kKvBlock);
        run.last_block = std::max(run.last_block, ceil_div(end, kernels::kKvBlock));
      }
      run.end_row = row;
      visit(run);
    }
  }
  /// All runs of the step.
  template <class Visit>
  void for_each_run(Visit visit) const {
    for (std::int64_t row_tile = 0; row_tile < row_tiles(); ++row_tile)
      for_each_run(row_tile, visit);
  }

  QueryTile tile(const Run& run, std::int64_t part) const {
    const std::int64_t chunk = part % shape.chunks(), kv_head = part / shape.chunks();
    QueryTile tile;
    tile.first_head = kv_head * shape.group() + chunk * shape.chunk_heads();
    tile.head = run.cache->head(shape.state, kv_head);
    const std::int64_t head_end =
        std::min(tile.first_head + shape.chunk_heads(), (kv_head + 1) * shape.group());
    for (std::int64_t row = run.first_row; row < run.end_row; ++row) {
      for (std::int64_t head = tile.first_head; head < head_end; ++head)
        add_query(tile, *run.cache, row, head);
    }
    return tile;
  }

 private:
  std::int64_t position(std::int64_t row) const {
    return context.step.positions[static_cast<std::size_t>(row)];
  }
  /// Positions that a row sees, the end exclusive.
  std::pair<std::int64_t, std::int64_t> visible(const KvCache& cache, std::int64_t row) const {
    const std::int64_t pos = position(row);
    return {shape.window > 0 ? std::max<std::int64_t>(0, pos - shape.window + 1) : 0,
            shape.source ? cache.source_rows() : pos + 1};
  }
  void add_query(QueryTile& tile, const KvCache& cache, std::int64_t row, std::int64_t head) const {
    const auto i = static_cast<std::size_t>(tile.queries++);
    std::tie(tile.begin[i], tile.end[i]) = visible(cache, row);
    tile.q[i] = context.floats(shape.q) + (row * shape.n_heads + head) * shape.head_dim;
    tile.out[i] = context.floats(shape.out) + (row * shape.n_heads + head) * shape.value_dim;
    tile.slope[i] = shape.alibi_slopes != nullptr ? shape.alibi_slopes[head] : 0.0F;
    tile.sink[i] = shape.sinks != nullptr ? shape.sinks[head] : 0.0F;
    tile.bias[i] = shape.bias != nullptr ? shape.bias->row(head, position(row)) : nullptr;
  }
};

/// Blocks of a cache, and whether their spans keep states of their own.
struct Blocks {
  std::int64_t begin, end;
  bool spans_apart;
};

/// The state of some blocks from nothing; a run's first ones begin with its sinks.
void attend(const AttentionShape& shape, const StepContext& context, const Run& run,
            const QueryTile& tile, const Blocks& blocks, float* state, std::byte* scratch) {
  kernels::AttentionArgs args{};
  args.q = tile.q.data();
  args.n_queries = tile.queries;
  args.head_dim = shape.head_dim;
  args.value_dim = shape.value_dim;
  args.begin = tile.begin.data();
  args.end = tile.end.data();
  args.head = tile.head;
  args.block_begin = blocks.begin;
  args.block_end = blocks.end;
  args.spans_apart = blocks.spans_apart;
  args.scale = shape.scale;
  args.softcap = shape.softcap;
  if (shape.alibi_slopes != nullptr) args.alibi_slope = tile.slope.data();
  if (shape.sinks != nullptr && blocks.begin == run.first_block) args.sink = tile.sink.data();
  if (shape.bias != nullptr) args.bias = tile.bias.data();
  args.state = state;
  args.scratch = scratch;
  context.kernels.attention[static_cast<std::size_t>(shape.kv)](args);
}

/// What enters a cache.
struct StoredShape {
  BufferId k, v;
  graph::StateId state;
  std::int64_t n_kv_heads, head_dim, value_dim;
  KvType kv;

  StoredShape(const Lowering& lowering, graph::ValueId keys, graph::ValueId values,
              graph::StateId id)
      : k(lowering.buffer(keys)), v(lowering.buffer(values)), state(id), kv(lowering.kv()) {
    const graph::KvState& its = lowering.graph().states[static_cast<std::size_t>(id)];
    n_kv_heads = its.n_kv_heads;
    head_dim = its.head_dim;
    value_dim = its.value_dim;
  }
  std::int64_t scratch() const noexcept { return kernels::kv_store_scratch_bytes(kv, head_dim); }
};

/// Writes keys and values of all rows; threads take rows of KV heads, so no two touch one byte.
class KvStoreStep final : public Step {
 public:
  explicit KvStoreStep(const StoredShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const auto store = context.kernels.kv_store[static_cast<std::size_t>(shape_.kv)];
    const std::int64_t rows = context.rows(), heads = shape_.n_kv_heads;
    const auto [begin, end] = context.share(heads * rows);
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t head = i / rows, row = i % rows, at = row * heads + head;
      const std::int64_t count = consecutive(context.step, row, std::min(rows, row + end - i));
      const auto* cache =
          static_cast<const KvCache*>(context.step.sequences[static_cast<std::size_t>(row)]);
      store({cache->head(shape_.state, head), shape_.head_dim, shape_.value_dim,
             context.step.positions[static_cast<std::size_t>(row)],
             context.floats(shape_.k) + at * shape_.head_dim,
             context.floats(shape_.v) + at * shape_.value_dim, context.scratch, count,
             heads * shape_.head_dim, heads * shape_.value_dim});
      i += count;
    }
  }

 private:
  /// How many rows from `row` on, before `end`, are one sequence's positions in order.
  static std::int64_t consecutive(const StepBinding& step, std::int64_t row, std::int64_t end) {
    const auto first = static_cast<std::size_t>(row);
    std::size_t next = first + 1;
    while (next < static_cast<std::size_t>(end) && step.sequences[next] == step.sequences[first] &&
           step.positions[next] == step.positions[next - 1] + 1)
      ++next;
    return static_cast<std::int64_t>(next - first);
  }

  StoredShape shape_;
};

/// Many rows: threads take items and walk the blocks of each.
class AttendStep final : public Step {
 public:
  explicit AttendStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const Items items{shape_, context};
    auto* state = reinterpret_cast<float*>(context.scratch);
    auto* scratch = reinterpret_cast<std::byte*>(state + shape_.state_floats(kernels::kMaxQueries));
    // Later rows see more: the heavy items first, so that the last ones are light.
    const std::int64_t parts = items.parts(), count = items.row_tiles() * parts;
    context.hand_out(count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = count - end; i < count - begin; ++i) {
        items.for_each_run(i / parts, [&](const Run& run) {
          const QueryTile tile = items.tile(run, i % parts);
          attend(shape_, context, run, tile, {run.first_block, run.last_block, false}, state,
                 scratch);
          context.kernels.attention_finish(tile.queries, shape_.value_dim, state, tile.out.data());
        });
      }
    });
  }

 private:
  AttentionShape shape_;
};

/// The state in `partials` of a span of a tile, of a step of few rows. Tiles lie in order of their
/// first row and head.
float* partial_state(const AttentionShape& shape, const StepContext& context, const Run& run,
                     const QueryTile& tile, std::int64_t span) {
  const std::int64_t before = run.first_row * shape.n_heads + tile.first_head * run.rows();
  return context.floats(shape.partials) + before * shape.max_spans * shape.query_floats() +
         (span - run.first_span()) * shape.state_floats(tile.queries);
}

/// The spans of all parts of all runs of a step of few rows, one after another, each a turn.
struct Turns {
  const Items& items;
  std::int64_t count = 0;

  explicit Turns(const Items& of) : items(of) {
    items.for_each_run([this](const Run& run) { count += run.spans() * items.parts(); });
  }
  /// visit(run, part, the turn of its first span).
  template <class Visit>
  void for_each_part(Visit visit) const {
    std::int64_t turn = 0;
    items.for_each_run([&](const Run& run) {
      for (std::int64_t part = 0; part < items.parts(); ++part, turn += run.spans())
        visit(run, part, turn);
    });
  }
  /// The end of the share that holds a turn.
  std::int64_t end_of_share(std::int64_t turn) const noexcept {
    const int threads = items.context.threads;
    for (int thread = 0; thread < threads; ++thread) {
      const auto [begin, end] = share_of(count, thread, threads);
      if (begin <= turn && turn < end) return end;
    }
    return count;
  }
};

/// Few rows: threads take turns, each its neighbours, so that it reads much of a head. What it sees
/// from a part's first span on it merges at once; of other spans the states stay apart.
class AttendSpansStep final : public Step {
 public:
  explicit AttendSpansStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const Items items{shape_, context};
    const Turns turns(items);
    const auto mine = context.share(turns.count);
    turns.for_each_part([&](const Run& run, std::int64_t part, std::int64_t turn) {
      const std::int64_t from = std::max<std::int64_t>(mine.first - turn, 0);
      const std::int64_t to = std::min(mine.second - turn, run.spans());
      if (from >= to) return;
      const QueryTile tile = items.tile(run, part);
      const std::int64_t first = (run.first_span() + from) * kernels::kSpanBlocks;
      const std::int64_t last = (run.first_span() + to) * kernels::kSpanBlocks;
      attend(shape_, context, run, tile,
             {std::max(first, run.first_block), std::min(last, run.last_block), /*apart=*/from > 0},
             partial_state(shape_, context, run, tile, run.first_span() + from), context.scratch);
    });
  }

 private:
  AttentionShape shape_;
};

/// Few rows, after AttendSpansStep: merges what is apart in the order of the spans. It goes by
/// rows, of which there is one tile: all. Every thread may do it, so each merges in its scratch.
class MergeStep final : public Step {
 public:
  explicit MergeStep(const AttentionShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const Items items{shape_, context};
    const Turns turns(items);
    auto* total = reinterpret_cast<float*>(context.scratch);
    turns.for_each_part([&](const Run& run, std::int64_t part, std::int64_t turn) {
      const QueryTile tile = items.tile(run, part);
      if (run.spans() <= 0) {  // Its source has no rows.
        for (std::int64_t i = 0; i < tile.queries; ++i)
          std::fill_n(tile.out[static_cast<std::size_t>(i)], shape_.value_dim, 0.0F);
        return;
      }
      std::copy_n(partial_state(shape_, context, run, tile, run.first_span()),
                  shape_.state_floats(tile.queries), total);
      for (std::int64_t i = turns.end_of_share(turn) - turn; i < run.spans(); ++i) {
        context.kernels.attention_merge(
            tile.queries, shape_.value_dim, total,
            partial_state(shape_, context, run, tile, run.first_span() + i));
      }
      context.kernels.attention_finish(tile.queries, shape_.value_dim, total, tile.out.data());
    });
  }

 private:
  AttentionShape shape_;
};

Status check_cache(const Lowering& lowering, const char* op) {
  const auto kv = static_cast<std::size_t>(lowering.kv());
  if (lowering.kernels().attention[kv] != nullptr && lowering.kernels().kv_store[kv] != nullptr)
    return {};
  return Error(ErrorCode::kUnsupported, "the cpu backend lacks attention for a kind of KV cache")
      .of(op)
      .got(std::to_string(kv));
}

/// What both ops say; `out` gets its buffer.
AttentionShape shape_of(Lowering& lowering, graph::ValueId q, graph::StateId id,
                        std::int64_t n_heads, float scale, graph::ValueId out) {
  const graph::KvState& state = lowering.graph().states[static_cast<std::size_t>(id)];
  const CompileOptions& options = lowering.options();
  AttentionShape shape{};
  shape.q = lowering.buffer(q);
  shape.state = id;
  shape.n_heads = n_heads;
  shape.n_kv_heads = state.n_kv_heads;
  shape.head_dim = state.head_dim;
  shape.value_dim = state.value_dim;
  shape.window = state.window;
  shape.scale = scale;
  shape.source = state.source;
  shape.kv = lowering.kv();
  shape.max_spans =
      ceil_div(state.source ? options.max_source : options.max_positions, kSpanPositions);
  shape.out = lowering.allocate(out);
  shape.partials = lowering.new_buffer(0, lowering.few_rows(lowering.value(q)) * shape.n_heads *
                                              shape.max_spans * shape.query_floats() *
                                              static_cast<std::int64_t>(sizeof(float)));
  return shape;
}

/// \param reads q, and what must stand in the cache first.
void add_attend_steps(Lowering& lowering, const AttentionShape& shape,
                      const std::vector<BufferId>& reads) {
  const std::int64_t scratch =
      shape.state_floats(kernels::kMaxQueries) * static_cast<std::int64_t>(sizeof(float)) +
      kernels::attention_scratch_bytes(shape.kv, shape.head_dim, shape.value_dim);
  lowering.add(std::make_unique<AttendStep>(shape),
               {Split::kOther, reads, {shape.out}, scratch, When::kMany});
  lowering.add(std::make_unique<AttendSpansStep>(shape),
               {Split::kOther, reads, {shape.partials}, scratch, When::kFew});
  lowering.add(std::make_unique<MergeStep>(shape),
               {Split::kRows, {shape.partials}, {shape.out}, scratch, When::kFew, "merge"});
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::AttentionOp& attention, graph::ValueId out) {
  QUERN_CHECK(check_cache(lowering, "attention"));
  QUERN_TRY(bias, lowering.distance_bias("attention", attention.bias,
                                         lowering.options().max_positions - 1, 0));
  AttentionShape shape =
      shape_of(lowering, attention.q, attention.state, attention.n_heads, attention.scale, out);
  shape.softcap = attention.softcap;
  shape.bias = std::move(bias);
  if (!attention.alibi_slopes.empty()) shape.alibi_slopes = attention.alibi_slopes.data();
  if (attention.sinks != graph::kNone) shape.sinks = lowering.weight(attention.sinks).view.f32();
  const BufferId mark = lowering.mark_of(attention.state);
  if (attention.k != graph::kNone) {
    const StoredShape stored(lowering, attention.k, attention.v, attention.state);
    lowering.add(
        std::make_unique<KvStoreStep>(stored),
        {Split::kOther, {stored.k, stored.v}, {mark}, stored.scratch(), When::kAlways, "kv_store"});
  }
  add_attend_steps(lowering, shape, {shape.q, mark});
  return {};
}

Status lower_op(Lowering& lowering, const graph::CrossAttentionOp& attention, graph::ValueId out) {
  QUERN_CHECK(check_cache(lowering, "cross_attention"));
  const AttentionShape shape =
      shape_of(lowering, attention.q, attention.state, attention.n_heads, attention.scale, out);
  add_attend_steps(lowering, shape, {shape.q});
  return {};
}

Status lower_op(Lowering& lowering, const graph::StoreSourceOp& store, graph::ValueId /*out*/) {
  QUERN_CHECK(check_cache(lowering, "store_source"));
  const StoredShape stored(lowering, store.k, store.v, store.state);
  lowering.add(std::make_unique<KvStoreStep>(stored),
               {Split::kOther, {stored.k, stored.v}, {}, stored.scratch()});
  return {};
}

}  // namespace quern::backends::cpu
