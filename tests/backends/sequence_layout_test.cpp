#include "backends/sequence_layout.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/page_buffer.h"

using namespace quern;
using namespace quern::backends;

namespace {

/// Two layers of unlike heads, one of the source's, two rolling states.
graph::Graph states() {
  graph::Graph graph;
  graph.states = {{3, 64, 64, 0}, {2, 24, 20, 0}, {2, 32, 32, 0, true}};
  graph.rolling = {{5}, {100}};
  return graph;
}

using Piece = std::pair<std::int64_t, std::int64_t>;  // Begin and end, in bytes.

/// All blocks of keys and of values of the own or the source's states, and the own rolling states.
std::vector<Piece> pieces(const graph::Graph& graph, const SequenceLayout& layout, KvType type,
                          bool source, std::int64_t blocks) {
  std::vector<Piece> all;
  for (std::size_t i = 0; i < graph.states.size(); ++i) {
    const graph::KvState& state = graph.states[i];
    const auto id = static_cast<graph::StateId>(i);
    if (layout.place(id).source != source) continue;
    const SequenceLayout::Place place = layout.place(id);
    for (std::int64_t at = 0; at < state.n_kv_heads * blocks; ++at) {
      const std::int64_t head = at / blocks, block = at % blocks;
      const std::int64_t before = head * place.head_bytes +
                                  block / kernels::kSpanBlocks * place.span_bytes +
                                  block % kernels::kSpanBlocks * place.block_bytes;
      const std::int64_t k = before + place.k, v = before + place.v;
      all.emplace_back(k, k + kernels::kv_key_block_bytes(type, state.head_dim));
      all.emplace_back(v, v + kernels::kv_value_block_bytes(type, state.value_dim));
    }
  }
  for (std::size_t i = 0; !source && i < graph.rolling.size(); ++i) {
    const auto at = static_cast<std::int64_t>(layout.rolling_offset(static_cast<int>(i)));
    all.emplace_back(at, at + 4 * graph.rolling[i].floats);
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("nothing of a sequence overlaps, and all of it lies inside") {
  const graph::Graph graph = states();
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8, KvType::kQ4}) {
    const SequenceLayout layout(graph, type, {700, 70});
    CHECK(layout.capacity() == 704);
    for (const bool source : {false, true}) {
      const auto all = pieces(graph, layout, type, source, source ? 2 : 11);
      const std::uint64_t bytes = source ? layout.source_bytes() : layout.bytes();
      CHECK(all.front().first == 0);
      CHECK(all.back().second <= static_cast<std::int64_t>(bytes));
      for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i - 1].second <= all[i].first);
    }
  }
}

TEST_CASE("nothing moves with the capacity, and a beginning holds the first positions") {
  const graph::Graph graph = states();
  const SequenceLayout small(graph, KvType::kQ8, {200, 0}), large(graph, KvType::kQ8, {7000, 0});
  const auto first = pieces(graph, small, KvType::kQ8, false, 4);
  CHECK(first == pieces(graph, large, KvType::kQ8, false, 4));
  CHECK(first.back().second <= static_cast<std::int64_t>(large.bytes_up_to(256)));
  CHECK(large.bytes_up_to(256) == small.bytes());
  CHECK(large.bytes_up_to(257) > small.bytes());
  CHECK(large.bytes_up_to(0) == large.rolling_bytes());
  CHECK(large.check_copy(small, 200).ok());
  CHECK(large.check_copy(small, 300).error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("large pages begin at one, and memory of either kind is zero") {
  for (const auto pages : {base::Pages::kSmall, base::Pages::kLarge}) {
    for (const std::uint64_t bytes : {std::uint64_t{4096}, std::uint64_t{5} << 20}) {
      auto buffer = std::move(base::PageBuffer::allocate(bytes, pages)).value();
      REQUIRE(buffer.size() == bytes);
      const bool large = pages == base::Pages::kLarge && bytes > 4096;
      CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % (large ? 2U << 20 : 4096) == 0);
      CHECK(std::all_of(buffer.data(), buffer.data() + bytes,
                        [](std::byte b) { return b == std::byte{0}; }));
      buffer.data()[bytes - 1] = std::byte{1};
    }
  }
}
