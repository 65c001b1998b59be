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

struct Shape {
  KvType type;
  std::int64_t hd, vd, positions, queries;
  bool wild;
};

struct Problem {
  Shape s;
  std::vector<std::vector<float>> q;
  std::vector<float> keys, values, slopes, sinks;
  std::vector<std::vector<float>> bias;  ///< Rows of whole blocks; empty: none.
  std::vector<std::int64_t> begin, end;
  float softcap = 0, scale = 0;
  bool alibi = false, sunk = false;

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
      sinks.push_back(random.number(s.wild));
    }
    scale = 1.0f / std::sqrt(static_cast<float>(s.hd));
    softcap = random.below(3) == 0 ? 5.0f : 0.0f;
    alibi = random.below(3) == 0;
    sunk = random.below(3) == 0;
    if (random.below(3) != 0) return;
    bias.resize(q.size());
    for (auto& row : bias) fill(row, (s.positions + kKvBlock - 1) / kKvBlock * kKvBlock);
  }
};

/// The cache of one head, filled by one table.
struct Cache {
  std::int64_t blocks, key_bytes, block_bytes;
  Guarded memory;
  KvHead head;

  Cache(const Problem& p, const KernelTable& table)
      : blocks((p.s.positions + kKvBlock - 1) / kKvBlock),
        key_bytes(kv_key_block_bytes(p.s.type, p.s.hd)),
        block_bytes(key_bytes + kv_value_block_bytes(p.s.type, p.s.vd)),
        memory(blocks * block_bytes),
        head{memory.data(), memory.data() + key_bytes, block_bytes, kSpanBlocks * block_bytes} {
    // What was there before must not matter, even where it reads as NaN.
    std::memset(memory.data(), 0xff, static_cast<std::size_t>(memory.size()));
    Guarded scratch(kv_store_scratch_bytes(p.s.type, p.s.hd));
    const std::int64_t sizes[] = {1, 15, 16, 33, 7, 70};  // Of what is stored at once.
    for (std::int64_t pos = 0, i = 0; pos < p.s.positions; ++i) {
      const std::int64_t count = std::min(sizes[i % 6], p.s.positions - pos);
      Guarded key(4 * count * p.s.hd), value(4 * count * p.s.vd);
      std::copy_n(p.keys.data() + pos * p.s.hd, count * p.s.hd, key.floats());
      std::copy_n(p.values.data() + pos * p.s.vd, count * p.s.vd, value.floats());
      table.kv_store[static_cast<std::size_t>(p.s.type)]({head, p.s.hd, p.s.vd, pos, key.floats(),
                                                          value.floats(), scratch.data(), count,
                                                          p.s.hd, p.s.vd});
      pos += count;
    }
  }
};

/// How the work is cut: the whole at once, or spans apart with groups of queries of this size.
constexpr std::int64_t kWhole = 0;

/// The finished outputs of queries [from, from + count).
void attend_some(const KernelTable& table, const Problem& p, const Cache& cache, std::int64_t from,
                 std::int64_t count, bool by_span, float* const* out) {
  std::vector<const float*> q;
  for (const auto& one : p.q) q.push_back(one.data());
  std::vector<const float*> bias;
  for (const auto& one : p.bias) bias.push_back(one.data());
  Guarded scratch(attention_scratch_bytes(p.s.type, p.s.hd, p.s.vd));
  const std::int64_t spans = (cache.blocks + kSpanBlocks - 1) / kSpanBlocks;
  const std::int64_t floats = attention_state_floats(count, p.s.vd);
  Guarded states(4 * floats * (by_span ? spans : 1));
  AttentionArgs args{};
  args.q = q.data() + from;
  args.n_queries = count;
  args.head_dim = p.s.hd;
  args.value_dim = p.s.vd;
  args.begin = p.begin.data() + from;
  args.end = p.end.data() + from;
  args.head = cache.head;
  args.scale = p.scale;
  args.softcap = p.softcap;
  args.alibi_slope = p.alibi ? p.slopes.data() + from : nullptr;
  args.bias = bias.empty() ? nullptr : bias.data() + from;
  args.scratch = scratch.data();
  args.block_end = cache.blocks;
  args.sink = p.sunk ? p.sinks.data() + from : nullptr;
  args.state = states.floats();
  args.spans_apart = by_span;
  table.attention[static_cast<std::size_t>(p.s.type)](args);
  for (std::int64_t span = 1; by_span && span < spans; ++span)
    table.attention_merge(count, p.s.vd, states.floats(), states.floats() + span * floats);
  table.attention_finish(count, p.s.vd, states.floats(), out + from);
}

/// The finished outputs of all queries.
std::vector<float> attend(const KernelTable& table, const Problem& p, const Cache& cache,
                          std::int64_t cut) {
  std::vector<float> all(static_cast<std::size_t>(p.s.queries * p.s.vd));
  std::vector<float*> out;
  for (std::int64_t i = 0; i < p.s.queries; ++i) out.push_back(all.data() + i * p.s.vd);
  const std::int64_t group = cut == kWhole ? p.s.queries : cut;
  for (std::int64_t i = 0; i < p.s.queries; i += group) {
    attend_some(table, p, cache, i, std::min(group, p.s.queries - i), cut != kWhole, out.data());
  }
  return all;
}

void compare_all(const Shape& shape, Random& random) {
  const Problem p(shape, random);
  const Cache reference(p, oracle());
  const std::vector<float> want = attend(oracle(), p, reference, kWhole);
  for (const KernelTable* table : tables()) {
    const Cache cache(p, *table);
    for (const std::int64_t cut :
         {kWhole, std::int64_t{1}, std::int64_t{3}, std::int64_t{7}, std::int64_t{20}}) {
      const std::vector<float> got = attend(*table, p, cache, cut);
      const std::int64_t at =
          first_difference(want.data(), got.data(), static_cast<std::int64_t>(want.size()));
      CAPTURE(std::string(table->isa));
      CAPTURE(static_cast<int>(shape.type));
      CAPTURE(shape.hd);
      CAPTURE(shape.vd);
      CAPTURE(shape.positions);
      CAPTURE(shape.queries);
      CAPTURE(shape.wild);
      CAPTURE(cut);
      CHECK(at == -1);
      if (at >= 0) return;
    }
    if (!shape.wild) {
      const auto same = [](const Guarded& a, const Guarded& b) {
        return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size())) == 0;
      };
      CAPTURE(std::string(table->isa));
      CAPTURE(static_cast<int>(shape.type));
      CHECK(same(reference.memory, cache.memory));
    }
  }
}

/// How far an attention of coded keys and values is from one of float32, of the latter's length.
double distance_from_floats(const KernelTable& table, const Problem& p) {
  Problem wide = p;
  wide.s.type = KvType::kF32;
  const std::vector<float> got = attend(table, p, Cache(p, table), kWhole);
  const std::vector<float> want = attend(table, wide, Cache(wide, table), kWhole);
  double error = 0, size = 0;
  for (std::size_t d = 0; d < want.size(); ++d) {
    error += std::pow(double(got[d]) - double(want[d]), 2);
    size += std::pow(double(want[d]), 2);
  }
  return std::sqrt(error / size);
}

/// One query that sees all positions, with nothing but a product for a score.
Problem plain_problem(const Shape& shape, Random& random) {
  Problem p(shape, random);
  p.alibi = p.sunk = false;
  p.softcap = 0;
  p.bias.clear();
  p.begin[0] = 0;
  p.end[0] = shape.positions;
  return p;
}

}  // namespace

TEST_CASE("attention and the KV store give the oracle's bits, however the work is split") {
  Random random(21);
  for (const KvType type : kTypes) {
    for (std::int64_t queries = 1; queries <= kMaxQueries; queries += queries < 18 ? 1 : 5) {
      compare_all({type, 64, 64, 1 + random.below(400), queries, false}, random);
    }
    for (const std::int64_t hd : {1, 4, 7, 8, 20, 33, 40, 80, 96, 120, 256}) {
      for (const int queries : {8, 48}) {
        compare_all({type, hd, 1 + random.below(100), 1 + random.below(150),
                     1 + random.below(queries), false},
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
      compare_all({type, 16, 24, 1 + random.below(300), 1 + random.below(48), true}, random);
    }
  }
}

TEST_CASE("attention agrees with a plain softmax in double precision") {
  Random random(23);
  for (const KvType type : kTypes) {
    double error = 0;
    for (int repeat = 0; repeat < 4; ++repeat) {
      Problem p({type, 32, 32, 400, 9, false}, random);
      p.alibi = false;
      const Cache cache(p, oracle());
      const std::vector<float> all = attend(oracle(), p, cache, kWhole);
      for (std::size_t i = 0; i < 9; ++i) {
        std::vector<double> o(32);
        double sum = p.sunk ? std::exp(double(p.sinks[i])) : 0.0;
        for (std::int64_t j = p.begin[i]; j < p.end[i]; ++j) {
          double s = 0;
          for (std::size_t d = 0; d < 32; ++d) {
            s += double(p.q[i][d]) * double(p.keys[static_cast<std::size_t>(j) * 32 + d]);
          }
          s *= double(p.scale);
          if (p.softcap > 0) s = double(p.softcap) * std::tanh(s / double(p.softcap));
          if (!p.bias.empty()) s += double(p.bias[i][static_cast<std::size_t>(j)]);
          const double e = std::exp(s);
          sum += e;
          for (std::size_t d = 0; d < 32; ++d) {
            o[d] += e * double(p.values[static_cast<std::size_t>(j) * 32 + d]);
          }
        }
        for (std::size_t d = 0; d < 32; ++d) {
          error = std::max(error, std::fabs(double(all[i * 32 + d]) - o[d] / sum));
        }
      }
    }
    const double allowed[] = {0, 2e-6, 2e-3, 2e-2, 5e-2, 0.6};
    CAPTURE(static_cast<int>(type));
    CAPTURE(error);
    CHECK(error < allowed[static_cast<std::size_t>(type)]);
  }
}

TEST_CASE("weights stay exact beside a value of a thousandth of the others' norm") {
  // The strongest position holds a tiny value, as positions at the start of a text do: the codes
  // of the weights must be spent on the others.
  Random random(24);
  for (const KernelTable* table : tables()) {
    Problem p = plain_problem({KvType::kQ8, 32, 32, 64, 1, false}, random);
    for (std::size_t d = 0; d < 32; ++d) {
      p.keys[d] = p.q[0][d] * 2;
      p.values[d] *= 1e-3f;
    }
    const double error = distance_from_floats(*table, p);
    CAPTURE(error);
    CHECK(error < 0.05);
  }
}

TEST_CASE("an element of all keys that outweighs the others does not cost them their codes") {
  // Keys of real models have such elements, which say nothing: all positions have the same.
  Random random(25);
  for (const KernelTable* table : tables()) {
    Problem p = plain_problem({KvType::kQ8, 64, 64, 200, 1, false}, random);
    for (std::size_t j = 0; j < 200; ++j) p.keys[64 * j + 5] = 100.0f;
    p.q[0][5] = 0.1f;
    const double error = distance_from_floats(*table, p);
    CAPTURE(error);
    CHECK(error < 0.08);
  }
}

TEST_CASE("queries that see nothing give zeros") {
  Random random(25);
  for (const KernelTable* table : tables()) {
    for (const KvType type : kTypes) {
      for (const std::int64_t queries : {3, 20}) {
        Problem p({type, 16, 19, 70, queries, false}, random);
        p.sunk = false;
        p.begin[1] = p.end[1] = 0;
        const Cache cache(p, *table);
        const std::vector<float> out = attend(*table, p, cache, kWhole);
        for (std::size_t d = 0; d < 19; ++d) CHECK(out[19 + d] == 0.0f);
      }
    }
  }
}

}  // namespace quern::kernels::test
