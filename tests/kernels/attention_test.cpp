// The KV store and attention: bits of every instruction set against the oracle's, the oracle
// against a plain softmax in double precision, and independence of how the blocks are split.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/harness.h"

namespace quern::kernels::test {
namespace {

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4};

std::int64_t up16(std::int64_t n) { return (n + 15) / 16 * 16; }

struct Shape {
  KvType type;
  std::int64_t hd, vd, positions, queries;
  bool wild;
};

struct Problem {
  Shape s;
  std::vector<std::vector<float>> q;
  std::vector<float> keys, values, slopes;
  std::vector<std::vector<float>> bias;  ///< Rows of whole blocks; empty: none.
  std::vector<std::int64_t> begin, end;
  float softcap = 0, scale = 0;
  bool alibi = false;

  Problem(const Shape& shape, Random& random) : s(shape) {
    const auto fill = [&](std::vector<float>& x, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) x.push_back(random.number(s.wild));
    };
    fill(keys, s.positions * s.hd);
    fill(values, s.positions * s.vd);
    q.resize(static_cast<std::size_t>(s.queries));
    const bool same = random.below(2) == 0;
    for (auto& one : q) {
      fill(one, s.hd);
      const std::int64_t last = s.positions;
      end.push_back(same ? last : 1 + random.below(static_cast<int>(last)));
      begin.push_back(random.below(3) != 0 ? 0 : random.below(static_cast<int>(end.back())));
      slopes.push_back(random.uniform() * 0.1f);
    }
    scale = 1.0f / std::sqrt(static_cast<float>(s.hd));
    softcap = random.below(3) == 0 ? 5.0f : 0.0f;
    alibi = random.below(3) == 0;
    if (random.below(3) != 0) return;
    bias.resize(q.size());
    for (auto& row : bias) fill(row, (s.positions + kKvBlock - 1) / kKvBlock * kKvBlock);
  }
};

/// The cache of one head, filled by one table.
struct Cache {
  std::int64_t blocks;
  Guarded k, v;
  KvHead head;

  Cache(const Problem& p, const KernelTable& table)
      : blocks((p.s.positions + kKvBlock - 1) / kKvBlock),
        k(blocks * kv_key_block_bytes(p.s.type, p.s.hd)),
        v(blocks * kv_value_block_bytes(p.s.type, p.s.vd)),
        head{k.data(), v.data(), kv_key_block_bytes(p.s.type, p.s.hd),
             kv_value_block_bytes(p.s.type, p.s.vd)} {
    // What was there before must not matter, even where it reads as NaN.
    std::memset(k.data(), 0xff, static_cast<std::size_t>(k.size()));
    std::memset(v.data(), 0xff, static_cast<std::size_t>(v.size()));
    for (std::int64_t pos = 0; pos < p.s.positions; ++pos) {
      Guarded key(4 * p.s.hd), value(4 * p.s.vd);
      std::copy_n(p.keys.data() + pos * p.s.hd, p.s.hd, key.floats());
      std::copy_n(p.values.data() + pos * p.s.vd, p.s.vd, value.floats());
      table.kv_store[static_cast<std::size_t>(p.s.type)](
          {head, p.s.hd, p.s.vd, pos, key.floats(), value.floats()});
    }
  }
};

/// m, l and acc of all queries, then the finished outputs; pads of acc are left out.
std::vector<float> attend(const KernelTable& table, const Problem& p, const Cache& cache,
                          bool split) {
  const std::int64_t n = p.s.queries, stride = up16(p.s.vd);
  std::vector<float> m(static_cast<std::size_t>(n), -std::numeric_limits<float>::infinity());
  std::vector<float> l(static_cast<std::size_t>(n)), acc(static_cast<std::size_t>(n * stride));
  Guarded scratch(attention_scratch_bytes(p.s.type, p.s.hd, p.s.vd));
  std::vector<const float*> q;
  for (const auto& one : p.q) q.push_back(one.data());
  std::vector<const float*> bias;
  for (const auto& one : p.bias) bias.push_back(one.data());
  AttentionArgs args{};
  args.head_dim = p.s.hd;
  args.value_dim = p.s.vd;
  args.head = cache.head;
  args.scale = p.scale;
  args.softcap = p.softcap;
  args.scratch = scratch.data();
  const auto call = [&](std::int64_t from, std::int64_t count, std::int64_t b0, std::int64_t b1) {
    args.q = q.data() + from;
    args.n_queries = count;
    args.begin = p.begin.data() + from;
    args.end = p.end.data() + from;
    args.alibi_slope = p.alibi ? p.slopes.data() + from : nullptr;
    args.bias = bias.empty() ? nullptr : bias.data() + from;
    args.m = m.data() + from;
    args.l = l.data() + from;
    args.acc = acc.data() + from * stride;
    args.block_begin = b0;
    args.block_end = b1;
    table.attention[static_cast<std::size_t>(p.s.type)](args);
  };
  if (!split) {
    call(0, n, 0, cache.blocks);
  } else {
    for (std::int64_t b = 0; b < cache.blocks; ++b) {
      for (std::int64_t i = 0; i < n; ++i) call(i, 1, b, b + 1);
    }
  }
  std::vector<float> all(m);
  all.insert(all.end(), l.begin(), l.end());
  for (std::int64_t i = 0; i < n; ++i) {
    Guarded out(4 * p.s.vd);
    const float* row = acc.data() + i * stride;
    table.attention_finish(l[static_cast<std::size_t>(i)], row, p.s.vd, out.floats());
    all.insert(all.end(), row, row + p.s.vd);
    all.insert(all.end(), out.floats(), out.floats() + p.s.vd);
  }
  return all;
}

void compare_all(const Shape& shape, Random& random) {
  const Problem p(shape, random);
  const Cache reference(p, oracle());
  const std::vector<float> want = attend(oracle(), p, reference, false);
  for (const KernelTable* table : tables()) {
    const Cache cache(p, *table);
    for (const bool split : {false, true}) {
      const std::vector<float> got = attend(*table, p, cache, split);
      const std::int64_t at =
          first_difference(want.data(), got.data(), static_cast<std::int64_t>(want.size()));
      CAPTURE(std::string(table->isa));
      CAPTURE(static_cast<int>(shape.type));
      CAPTURE(shape.hd);
      CAPTURE(shape.vd);
      CAPTURE(shape.positions);
      CAPTURE(shape.queries);
      CAPTURE(shape.wild);
      CAPTURE(split);
      CHECK(at == -1);
      if (at >= 0) return;
    }
    if (!shape.wild) {
      const auto same = [](const Guarded& a, const Guarded& b) {
        return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size())) == 0;
      };
      CAPTURE(std::string(table->isa));
      CAPTURE(static_cast<int>(shape.type));
      CHECK(same(reference.k, cache.k));
      CHECK(same(reference.v, cache.v));
    }
  }
}

}  // namespace

TEST_CASE("attention and the KV store give the oracle's bits, however the work is split") {
  Random random(21);
  for (const KvType type : kTypes) {
    for (std::int64_t queries = 1; queries <= kMaxQueries; ++queries) {
      compare_all({type, 64, 64, 1 + random.below(200), queries, false}, random);
    }
    for (const std::int64_t hd : {1, 4, 7, 8, 33, 40, 80, 128}) {
      for (int i = 0; i < 3; ++i) {
        compare_all(
            {type, hd, 1 + random.below(100), 1 + random.below(150), 1 + random.below(8), false},
            random);
      }
    }
  }
}

TEST_CASE("attention gives the oracle's bits for NaN, infinities and denormals") {
  Random random(22);
  for (const KvType type : kTypes) {
    for (int i = 0; i < 12; ++i) {
      compare_all({type, 16, 24, 1 + random.below(100), 1 + random.below(8), true}, random);
    }
  }
}

TEST_CASE("attention agrees with a plain softmax in double precision") {
  Random random(23);
  for (const KvType type : kTypes) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      Problem p({type, 32, 32, 150, 2, false}, random);
      p.alibi = false;
      const Cache cache(p, oracle());
      const std::vector<float> all = attend(oracle(), p, cache, false);
      double error = 0;
      for (std::int64_t i = 0; i < 2; ++i) {
        const auto u = static_cast<std::size_t>(i);
        std::vector<double> o(32);
        double sum = 0;
        for (std::int64_t j = p.begin[u]; j < p.end[u]; ++j) {
          double s = 0;
          for (std::size_t d = 0; d < 32; ++d) {
            s += double(p.q[u][d]) * double(p.keys[static_cast<std::size_t>(j) * 32 + d]);
          }
          s *= double(p.scale);
          if (p.softcap > 0) s = double(p.softcap) * std::tanh(s / double(p.softcap));
          if (!p.bias.empty()) s += double(p.bias[u][static_cast<std::size_t>(j)]);
          const double e = std::exp(s);
          sum += e;
          for (std::size_t d = 0; d < 32; ++d) {
            o[d] += e * double(p.values[static_cast<std::size_t>(j) * 32 + d]);
          }
        }
        for (std::size_t d = 0; d < 32; ++d) {
          const double got = double(all[4 + u * 64 + 32 + d]);
          error = std::max(error, std::fabs(got - o[d] / sum));
        }
      }
      const double allowed[] = {0, 2e-6, 2e-3, 2e-2, 5e-2, 0.6};
      CAPTURE(static_cast<int>(type));
      CHECK(error < allowed[static_cast<std::size_t>(type)]);
    }
  }
}

TEST_CASE("a merge into a fresh state is the block itself, and an empty state finishes as zeros") {
  for (const KernelTable* table : tables()) {
    float m = -std::numeric_limits<float>::infinity(), l = 0, acc[19] = {}, o[19], out[19];
    for (int i = 0; i < 19; ++i) o[i] = static_cast<float>(i) * 0.3f - 2.0f;
    table->attention_finish(l, acc, 19, out);
    for (const float x : out) CHECK(x == 0.0f);
    table->attention_merge(&m, &l, acc, 0.75f, 3.5f, o, 19);
    CHECK(m == 0.75f);
    CHECK(l == 3.5f);
    CHECK(first_difference(acc, o, 19) == -1);
  }
}

}  // namespace quern::kernels::test
