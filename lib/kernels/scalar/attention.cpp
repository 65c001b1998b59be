// Attention of the oracle: one query, one block, one position after the other.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/install.h"
#include "kernels/scalar/kv.h"

namespace quern::kernels {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kMagic = 12582912.0f;  // 1.5·2²³: adding it rounds to an integer, ties to even.

/// m, l and acc of one query.
struct State {
  float* m;
  float* l;
  float* acc;
};

State state_of(float* state, std::int64_t queries, std::int64_t vd, std::int64_t i) {
  const std::int64_t width = state_width(queries);
  return {state + i, state + width + i, state + 2 * width + i * round_up(vd, 16)};
}

void start(const State& state, const float* sink, std::int64_t i, std::int64_t vd) {
  *state.m = sink == nullptr ? kLowest : sink[i] * kLog2E;
  *state.l = sink == nullptr ? 0.0f : 1.0f;
  std::fill_n(state.acc, vd, 0.0f);
}

/// `unit` is what the elements of o_b count: 1, or 1/127 where weights are codes.
void merge(const State& state, float m_b, float l_b, const float* o_b, float unit,
           std::int64_t dim) {
  const float top = *state.m < m_b ? m_b : *state.m;
  const float f = exp2_scalar(*state.m - top), g = exp2_scalar(m_b - top);
  *state.l = std::fma(*state.l, f, l_b * g);
  const float h = unit == 1.0f ? g : g * unit;
  for (std::int64_t d = 0; d < dim; ++d) state.acc[d] = std::fma(state.acc[d], f, o_b[d] * h);
  *state.m = top;
}

void merge_spans(std::int64_t queries, std::int64_t vd, float* total, const float* span) {
  for (std::int64_t i = 0; i < queries; ++i) {
    const State one = state_of(const_cast<float*>(span), queries, vd, i);
    if (*one.l == 0.0f) continue;
    merge(state_of(total, queries, vd, i), *one.m, *one.l, one.acc, 1.0f, vd);
  }
}

void finish(std::int64_t queries, std::int64_t vd, const float* state, float* const* out) {
  for (std::int64_t i = 0; i < queries; ++i) {
    const State one = state_of(const_cast<float*>(state), queries, vd, i);
    const float r = 1.0f / *one.l;
    for (std::int64_t d = 0; d < vd; ++d) {
      out[i][d] = *one.l == 0.0f ? 0.0f : std::fma(one.acc[d], r, 0.0f);
    }
  }
}

/// The visible positions [from, to) of a block, and what is remembered of them.
struct Block {
  std::int64_t first, from, to;
  const std::byte* keys;
  const std::byte* values;
  float weight[64];  ///< x_j, then w_j.
};

/// s_j before cap and slope; coded: t_j.
template <KvType type>
float product(const AttentionArgs& args, const float* q, const CodeScale& rule, const Block& block,
              std::int64_t j) {
  if constexpr (kCoded<type>) {
    int isum = 0;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      isum += code_of(q[d], rule.factor) *
              static_cast<int>(read_key<type>(block.keys, args.head_dim, j, d));
    }
    return static_cast<float>(isum) * kv_scale(block.keys, key_code_bytes<type>(args.head_dim), j);
  } else {
    float acc = 0.0f;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      acc = std::fma(q[d], read_key<type>(block.keys, args.head_dim, j, d), acc);
    }
    return acc * args.scale;
  }
}

template <KvType type>
float value_exponent(const AttentionArgs& args, const Block& block, std::int64_t j) {
  return kv_scale(block.values, 64 * value_row_bytes<type>(args.value_dim), j);
}

/// x_j of all visible positions, q rotated where keys are; returns M.
template <KvType type>
float score_block(const AttentionArgs& args, std::int64_t i, const float* q, Block& block) {
  CodeScale rule{};
  if constexpr (kCoded<type>) rule = code_scale(q, args.head_dim, 127.0f);
  const float unit = rule.scale * args.scale;
  const bool shaped = args.softcap > 0.0f || args.alibi_slope != nullptr || args.bias != nullptr;
  float top = kLowest;
  for (std::int64_t j = block.from; j < block.to; ++j) {
    float s = product<type>(args, q, rule, block, j);
    float x = 0.0f;
    if (kCoded<type> && !shaped) {
      x = std::fma(s, unit * kLog2E, value_exponent<type>(args, block, j));
    } else {
      if constexpr (kCoded<type>) s = s * unit;
      if (args.softcap > 0.0f) s = args.softcap * tanh_scalar(s / args.softcap);
      if (args.alibi_slope != nullptr) {
        s += args.alibi_slope[i] * static_cast<float>(block.first + j - (args.end[i] - 1));
      }
      if (args.bias != nullptr) s += args.bias[i][block.first + j];
      x = s * kLog2E;
      if constexpr (kCoded<type>) x = std::fma(s, kLog2E, value_exponent<type>(args, block, j));
    }
    block.weight[j] = x;
    if (top < x) top = x;
  }
  return std::fma(top, 0.0f, top + 0.0f);
}

/// Turns x_j into w_j; returns l_b.
template <KvType type>
float weigh_block(const AttentionArgs& args, float m_b, Block& block) {
  float lanes[16] = {};
  for (std::int64_t j = block.from; j < block.to; ++j) {
    float& lane = lanes[j % 16];
    const float below = block.weight[j] - m_b;
    if constexpr (kCoded<type>) {
      const float w = exp2_short_scalar(-126.0f < below ? below : -126.0f);
      const float key_scale = kv_scale(block.keys, key_code_bytes<type>(args.head_dim), j);
      const float r =
          std::fma(key_scale, 0.0f, exp2_scalar(0.0f - value_exponent<type>(args, block, j)));
      lane = std::fma(w, r, lane);
      block.weight[j] = std::fma(w, 127.0f, kMagic) - kMagic;  // rint of the exact product.
    } else {
      block.weight[j] = exp2_scalar(below);
      lane += block.weight[j];
    }
  }
  return tree_sum(lanes);
}

template <KvType type>
void attend_block(const AttentionArgs& args, std::int64_t i, const float* q, std::int64_t b,
                  const State& state, float* o) {
  Block block{};
  block.first = b * kKvBlock;
  block.from = std::max<std::int64_t>(args.begin[i] - block.first, 0);
  block.to = std::min(args.end[i] - block.first, kKvBlock);
  if (block.from >= block.to) return;
  block.keys = key_block(args.head, b);
  block.values = value_block(args.head, b);
  const float m_b = score_block<type>(args, i, q, block);
  const float l_b = weigh_block<type>(args, m_b, block);
  for (std::int64_t d = 0; d < args.value_dim; ++d) {
    o[d] = 0.0f;
    for (std::int64_t j = block.from; j < block.to; ++j) {
      o[d] = std::fma(block.weight[j], read_value<type>(block.values, args.value_dim, j, d), o[d]);
    }
  }
  merge(state, m_b, l_b, o, kCoded<type> ? 1.0f / 127.0f : 1.0f, args.value_dim);
}

template <KvType type>
void attention(const AttentionArgs& args) {
  auto* o = reinterpret_cast<float*>(args.scratch);
  float m = 0.0f, l = 0.0f;
  const State span{&m, &l, o + round_up(args.value_dim, 16)};
  float* rotated = o + 2 * round_up(args.value_dim, 16);
  for (std::int64_t i = 0; i < args.n_queries; ++i) {
    if constexpr (kCoded<type>) rotated_vector(args.q[i], args.head_dim, rotated);
    const float* q = kCoded<type> ? rotated : args.q[i];
    State total = state_of(args.state, args.n_queries, args.value_dim, i);
    start(total, args.sink, i, args.value_dim);
    for (std::int64_t b = args.block_begin; b < args.block_end;) {
      start(span, nullptr, i, args.value_dim);
      const std::int64_t end = std::min((b / kSpanBlocks + 1) * kSpanBlocks, args.block_end);
      for (; b < end; ++b) attend_block<type>(args, i, q, b, span, o);
      if (l != 0.0f) merge(total, m, l, span.acc, 1.0f, args.value_dim);
      if (!args.spans_apart || b == args.block_end) continue;
      const std::int64_t states = b / kSpanBlocks - args.block_begin / kSpanBlocks;
      total = state_of(args.state + states * attention_state_floats(args.n_queries, args.value_dim),
                       args.n_queries, args.value_dim, i);
      start(total, nullptr, i, args.value_dim);
    }
  }
}

}  // namespace

void install_scalar_attention(KernelTable& table) {
  set_attention(table, KvType::kF32, attention<KvType::kF32>);
  set_attention(table, KvType::kF16, attention<KvType::kF16>);
  set_attention(table, KvType::kBF16, attention<KvType::kBF16>);
  set_attention(table, KvType::kQ8, attention<KvType::kQ8>);
  set_attention(table, KvType::kQ4, attention<KvType::kQ4>);
  table.attention_merge = merge_spans;
  table.attention_finish = finish;
}

}  // namespace quern::kernels
