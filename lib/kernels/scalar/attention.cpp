// Attention of the oracle: one query, one block, one position after the other.
#include <cmath>
#include <limits>

#include "kernels/install.h"
#include "kernels/scalar/kv.h"

namespace quern::kernels {
namespace {

void merge(float* m, float* l, float* acc, float m_b, float l_b, const float* o_b,
           std::int64_t dim) {
  const float top = *m < m_b ? m_b : *m;
  const float f = exp_scalar(*m - top), g = exp_scalar(m_b - top);
  *l = std::fma(*l, f, l_b * g);
  for (std::int64_t d = 0; d < dim; ++d) acc[d] = std::fma(acc[d], f, o_b[d] * g);
  *m = top;
}

void finish(float l, const float* acc, std::int64_t dim, float* out) {
  const float r = 1.0f / l;
  for (std::int64_t d = 0; d < dim; ++d) out[d] = l == 0.0f ? 0.0f : acc[d] * r;
}

template <KvType type>
constexpr bool kCoded = type == KvType::kQ8 || type == KvType::kQ4;

/// q · k_j, times the scales of both where they are coded.
template <KvType type>
float score(const AttentionArgs& args, const float* q, const std::byte* keys, std::int64_t j) {
  if constexpr (kCoded<type>) {
    const CodeScale rule = code_scale(q, args.head_dim, 127.0f);
    int isum = 0;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      isum +=
          code_of(q[d], rule.factor) * static_cast<int>(read_key<type>(keys, args.head_dim, j, d));
    }
    const float sk = kv_scale(keys, key_code_bytes<type>(args.head_dim), j);
    return (static_cast<float>(isum) * (rule.scale * sk)) * args.scale;
  } else {
    float acc = 0.0f;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      acc = std::fma(q[d], read_key<type>(keys, args.head_dim, j, d), acc);
    }
    return acc * args.scale;
  }
}

/// The visible positions [from, to) of a block.
struct Span {
  std::int64_t from, to;
};

/// Probabilities of the block's visible positions (0 elsewhere); returns m_b, writes l_b.
template <KvType type>
float probabilities(const AttentionArgs& args, std::int64_t i, const std::byte* keys,
                    std::int64_t first, Span visible, float p[64], float* l_b) {
  float lanes[16];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  for (std::int64_t j = visible.from; j < visible.to; ++j) {
    float s = score<type>(args, args.q[i], keys, j);
    if (args.softcap > 0.0f) s = args.softcap * tanh_scalar(s / args.softcap);
    if (args.alibi_slope != nullptr) {
      s += args.alibi_slope[i] * static_cast<float>(first + j - (args.end[i] - 1));
    }
    if (args.bias != nullptr) s += args.bias[i][first + j];
    p[j] = s;
    if (lanes[j % 16] < s) lanes[j % 16] = s;
  }
  const float top = tree_max(lanes);
  for (float& lane : lanes) lane = 0.0f;
  for (std::int64_t j = visible.from; j < visible.to; ++j) {
    p[j] = exp_scalar(p[j] - top);
    lanes[j % 16] += p[j];
  }
  *l_b = tree_sum(lanes);
  return top;
}

template <KvType type>
void weigh_values(const AttentionArgs& args, const std::byte* values, Span visible,
                  const float p[64], float* o) {
  for (std::int64_t d = 0; d < args.value_dim; ++d) {
    o[d] = 0.0f;
    for (std::int64_t j = visible.from; j < visible.to; ++j) {
      float weight = p[j];
      if constexpr (kCoded<type>) {
        weight *= kv_scale(values, 64 * value_row_bytes<type>(args.value_dim), j);
      }
      o[d] = std::fma(weight, read_value<type>(values, args.value_dim, j, d), o[d]);
    }
  }
}

template <KvType type>
void attention(const AttentionArgs& args) {
  auto* p = reinterpret_cast<float*>(args.scratch);
  float* o = p + kKvBlock;
  for (std::int64_t i = 0; i < args.n_queries; ++i) {
    for (std::int64_t b = args.block_begin; b < args.block_end; ++b) {
      const std::int64_t first = b * kKvBlock;
      const Span visible{args.begin[i] > first ? args.begin[i] - first : 0,
                         args.end[i] < first + kKvBlock ? args.end[i] - first : kKvBlock};
      if (visible.from >= visible.to) continue;
      float l_b = 0.0f;
      const float m_b = probabilities<type>(args, i, args.head.k + b * args.head.k_block_bytes,
                                            first, visible, p, &l_b);
      weigh_values<type>(args, args.head.v + b * args.head.v_block_bytes, visible, p, o);
      merge(args.m + i, args.l + i, args.acc + i * round_up(args.value_dim, 16), m_b, l_b, o,
            args.value_dim);
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
  table.attention_merge = merge;
  table.attention_finish = finish;
}

}  // namespace quern::kernels
