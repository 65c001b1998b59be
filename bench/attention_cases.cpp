// The KV cache and attention over it, as bench_kernels times them: one head of 64, 1,024 positions.
#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "kernel_case.h"
#include "kernels/harness.h"

namespace quern::bench {
namespace {

namespace test = kernels::test;
using kernels::KernelTable;

constexpr std::int64_t kDim = 64, kPositions = 1024, kBlocks = kPositions / kernels::kKvBlock;
constexpr std::array<std::pair<KvType, const char*>, 5> kTypes{{{KvType::kF32, "f32"},
                                                                {KvType::kF16, "f16"},
                                                                {KvType::kBF16, "bf16"},
                                                                {KvType::kQ8, "q8"},
                                                                {KvType::kQ4, "q4"}}};

std::vector<float> numbers(std::int64_t count) {
  test::Random random(3);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = random.number(false);
  return x;
}

/// The cache of one head, filled by the oracle.
struct Cache {
  explicit Cache(KvType of)
      : type(of),
        key_bytes(kernels::kv_key_block_bytes(of, kDim)),
        block_bytes(key_bytes + kernels::kv_value_block_bytes(of, kDim)),
        memory(kBlocks * block_bytes),
        head{memory.data(), memory.data() + key_bytes, block_bytes,
             kernels::kSpanBlocks * block_bytes},
        vectors(numbers(kPositions * kDim)) {
    store(test::oracle());
  }
  void store(const KernelTable& table) {
    test::Guarded scratch(kernels::kv_store_scratch_bytes(type, kDim));
    for (std::int64_t pos = 0; pos < kPositions; ++pos) {
      const float* vector = vectors.data() + pos * kDim;
      table.kv_store[static_cast<std::size_t>(type)](
          {head, kDim, kDim, pos, vector, vector, scratch.data()});
    }
  }
  KvType type;
  std::int64_t key_bytes, block_bytes;
  test::Guarded memory;
  kernels::KvHead head;
  std::vector<float> vectors;
};

/// `count` queries over blocks of the cache from a fresh state, and their finished outputs.
struct Attending {
  Attending(std::shared_ptr<Cache> over, std::int64_t count)
      : cache(std::move(over)),
        n(count),
        q(numbers(kDim)),
        rows(static_cast<std::size_t>(count), q.data()),
        begin(static_cast<std::size_t>(count), 0),
        end(static_cast<std::size_t>(count), kPositions),
        state(4 * kernels::attention_state_floats(count, kDim)),
        scratch(kernels::attention_scratch_bytes(cache->type, kDim, kDim)),
        out(static_cast<std::size_t>(count * kDim)) {
    for (std::int64_t i = 0; i < count; ++i) outputs.push_back(out.data() + i * kDim);
  }

  void attend(const KernelTable& table, std::int64_t first, std::int64_t last) {
    kernels::AttentionArgs args{};
    args.q = rows.data();
    args.n_queries = n;
    args.head_dim = args.value_dim = kDim;
    args.begin = begin.data();
    args.end = end.data();
    args.head = cache->head;
    args.block_begin = first;
    args.block_end = last;
    args.scale = 0.125F;
    args.state = state.floats();
    args.scratch = scratch.data();
    table.attention[static_cast<std::size_t>(cache->type)](args);
  }
  void finish(const KernelTable& table) {
    table.attention_finish(n, kDim, state.floats(), outputs.data());
  }

  std::shared_ptr<Cache> cache;
  std::int64_t n;
  std::vector<float> q;
  std::vector<const float*> rows;
  std::vector<std::int64_t> begin, end;
  test::Guarded state, scratch;
  std::vector<float> out;
  std::vector<float*> outputs;
};

KernelCase attention_case(const std::shared_ptr<Cache>& cache, const char* type,
                          std::int64_t queries) {
  const auto work = std::make_shared<Attending>(cache, queries);
  KernelCase one;
  one.name = std::string("attention ") + type;
  one.shape = std::to_string(queries) + " queries";
  one.bound = Bound::kFloat;
  one.macs = static_cast<double>(2 * queries * kPositions * kDim);
  one.bytes = static_cast<double>(cache->memory.size());
  one.run = [work](const KernelTable& table) {
    work->attend(table, 0, kBlocks);
    work->finish(table);
  };
  one.output = [work] { return std::span<const float>(work->out); };
  return one;
}

KernelCase store_case(KvType kv, const char* type) {
  const auto cache = std::make_shared<Cache>(kv);
  KernelCase one;
  one.name = std::string("kv_store ") + type;
  one.shape = "1024 positions";
  one.elements = static_cast<double>(2 * kPositions * kDim);
  one.run = [cache](const KernelTable& table) { cache->store(table); };
  one.output = [cache] {
    return std::span<const float>(cache->memory.floats(),
                                  static_cast<std::size_t>(cache->memory.size()) / sizeof(float));
  };
  return one;
}

/// The halves of a cache, attended to by the table under test; its states are its own affair.
struct Merging {
  explicit Merging(const std::shared_ptr<Cache>& cache, std::int64_t count)
      : first(cache, count), second(cache, count), kept(first.state.size()) {}

  void run(const KernelTable& table) {
    if (made_by != &table) {
      first.attend(table, 0, kBlocks / 2);
      second.attend(table, kBlocks / 2, kBlocks);
      std::copy_n(first.state.data(), kept.size(), kept.data());
      made_by = &table;
    }
    std::copy_n(kept.data(), kept.size(), first.state.data());
    table.attention_merge(first.n, kDim, first.state.floats(), second.state.floats());
    first.finish(table);
  }

  Attending first, second;
  test::Guarded kept;
  const KernelTable* made_by = nullptr;
};

KernelCase merge_case(const std::shared_ptr<Cache>& cache) {
  constexpr std::int64_t kQueries = 8;
  const auto work = std::make_shared<Merging>(cache, kQueries);
  KernelCase one;
  one.name = "attention_merge, _finish";
  one.shape = "8 queries of 64";
  one.elements = static_cast<double>(kQueries * kDim);
  one.run = [work](const KernelTable& table) { work->run(table); };
  one.output = [work] { return std::span<const float>(work->first.out); };
  return one;
}

}  // namespace

std::vector<KernelCase> attention_cases() {
  std::vector<KernelCase> cases;
  for (const auto& [type, name] : kTypes) {
    cases.push_back(store_case(type, name));
    const auto cache = std::make_shared<Cache>(type);
    for (const std::int64_t queries : {1, 3, 8, 48})
      cases.push_back(attention_case(cache, name, queries));
  }
  cases.push_back(merge_case(std::make_shared<Cache>(KvType::kF32)));
  return cases;
}

}  // namespace quern::bench
