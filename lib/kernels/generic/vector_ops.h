/// \file
/// Norms, softmax, gated activations, scans, rotary positions: bodies over V = Vec16 of any ISA, in
/// the order of kernel_table.h. `Isa` has V and
/// swap<distance>(V), which exchanges lanes.
#pragma once

#include <cmath>

#include "kernels/generic/causal_conv.h"
#include "kernels/generic/math.h"
#include "kernels/generic/rope_angles.h"
#include "kernels/generic/scan.h"
#include "kernels/generic/vec16.h"
#include "kernels/install.h"

namespace quern::kernels {
namespace {

/// y[i] = f(i, load) over n elements, where load(p) gives lanes i … i+15 of p (zeros beyond n).
template <class V, class F>
QUERN_INLINE void map_lanes(std::int64_t n, float* y, F f) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    f([i](const float* p) QUERN_INLINE_LAMBDA { return V::load(p + i); }).store(y + i);
  }
  if (i < n) {
    const std::int64_t rest = n - i;
    f([i, rest](const float* p) QUERN_INLINE_LAMBDA {
      return V::load_first(p + i, rest);
    }).store_first(y + i, rest);
  }
}

template <class Isa>
struct VectorOps {
  using V = typename Isa::V;

  /// V::tree_sum(), in registers.
  static QUERN_INLINE float tree_sum(V x) {
    x = x + Isa::template swap<8>(x);
    x = x + Isa::template swap<4>(x);
    x = x + Isa::template swap<2>(x);
    x = x + Isa::template swap<1>(x);
    float lanes[16];
    x.store(lanes);
    return lanes[0];
  }

  static float square_sum(const float* x, std::int64_t n) {
    V lanes = V::all(0.0f);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const V v = V::load(x + i);
      lanes = fma(v, v, lanes);
    }
    if (i < n) {
      const V v = V::load_first(x + i, n - i);
      lanes = fma(v, v, lanes);
    }
    return tree_sum(lanes);
  }

  static void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* y) {
    if (n == 0) return;
    const float mean = square_sum(x, n) / static_cast<float>(n);
    const V r = V::all(1.0f / Isa::square_root(mean + eps));
    if (weight == nullptr) {
      map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return lanes(x) * r; });
    } else {
      map_lanes<V>(n, y,
                   [&](auto lanes) QUERN_INLINE_LAMBDA { return (lanes(x) * r) * lanes(weight); });
    }
  }

  /// Lane sums of f(lanes), f being 0 where lanes are beyond n: the caller sees to it.
  static float mean_of(const float* x, std::int64_t n) {
    V lanes = V::all(0.0f);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = lanes + V::load(x + i);
    if (i < n) lanes = lanes + V::load_first(x + i, n - i);
    return tree_sum(lanes) / static_cast<float>(n);
  }

  static float variance_of(const float* x, float mean, std::int64_t n) {
    const V m = V::all(mean);
    V lanes = V::all(0.0f);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const V d = V::load(x + i) - m;
      lanes = fma(d, d, lanes);
    }
    if (i < n) {
      const V d = V::load_first(x + i, n - i, mean) - m;  // Lanes beyond n: 0 (or NaN as the rest).
      const V inside = where_less(lane_numbers<V>(), V::all(static_cast<float>(n - i)), d);
      lanes = fma(inside, inside, lanes);
    }
    return tree_sum(lanes) / static_cast<float>(n);
  }

  /// d where a < b, else 0.
  static QUERN_INLINE V where_less(const V& a, const V& b, const V& d) {
    return select(less(a, b), d, V::all(0.0f));
  }

  static void layer_norm(const float* x, const float* weight, const float* bias, float eps,
                         std::int64_t n, float* y) {
    if (n == 0) return;
    const float mean = mean_of(x, n);
    const V m = V::all(mean);
    const V r = V::all(1.0f / Isa::square_root(variance_of(x, mean, n) + eps));
    const V one = V::all(1.0f), zero = V::all(0.0f);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      const V v = (lanes(x) - m) * r;
      const V w = weight == nullptr ? one : lanes(weight);
      return fma(v, w, bias == nullptr ? zero : lanes(bias));
    });
  }

  static void add(const float* a, const float* b, std::int64_t n, float* y) {
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return lanes(a) + lanes(b); });
  }
  static void mul(const float* a, const float* b, std::int64_t n, float* y) {
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return lanes(a) * lanes(b); });
  }
  static void scale(const float* x, float s, std::int64_t n, float* y) {
    const V factor = V::all(s);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return factor * lanes(x); });
  }
  template <int count>
  static void mix_of(const float* base, const float* const* xs, const float* factors,
                     std::int64_t n, float* y) {
    V factor[count];
    const float* x[count];
    each<count>([&](auto j) QUERN_INLINE_LAMBDA {
      factor[j] = V::all(factors[j]);
      x[j] = xs[j];
    });
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      V sum = lanes(base);
      each<count>([&](auto j) QUERN_INLINE_LAMBDA { sum = fma(factor[j], lanes(x[j]), sum); });
      return sum;
    });
  }
  static void mix(const float* base, const float* const* xs, const float* factors,
                  std::int64_t count, std::int64_t n, float* y) {
    if (count == 1) return mix_of<1>(base, xs, factors, n, y);
    if (count == 4) return mix_of<4>(base, xs, factors, n, y);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      V sum = lanes(base);
      for (std::int64_t j = 0; j < count; ++j) sum = fma(V::all(factors[j]), lanes(xs[j]), sum);
      return sum;
    });
  }
  static void cutoff(const float* x, float deviations, std::int64_t n, float* y) {
    if (n == 0) return;
    const float mean = mean_of(x, n);
    const float root = Isa::square_root(variance_of(x, mean, n));
    const V cut = V::all(mean + root * deviations);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      return activate<Activation::kRelu>(lanes(x) - cut);
    });
  }
  static void clamp(const float* x, float limit, std::int64_t n, float* y) {
    const V low = V::all(-limit), high = V::all(limit);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      const V v = lanes(x);
      const V above = select(less(v, low), low, v);
      return select(less(high, above), high, above);
    });
  }
  static void softcap(const float* x, float cap, std::int64_t n, float* y) {
    const V c = V::all(cap);
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return c * tanh_of(lanes(x) / c); });
  }

  static void softplus(const float* x, std::int64_t n, float* y) {
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return softplus_of(lanes(x)); });
  }

  template <Activation kind>
  static void activation(const float* x, std::int64_t n, float* y) {
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA { return activate<kind>(lanes(x)); });
  }
  template <Activation kind>
  static void glu(const float* gate, const float* up, std::int64_t n, float* y) {
    map_lanes<V>(n, y, [&](auto lanes) QUERN_INLINE_LAMBDA {
      return activate<kind>(lanes(gate)) * lanes(up);
    });
  }

  static void softmax(float* x, std::int64_t n) {
    if (n == 0) return;
    const float lowest = -std::numeric_limits<float>::infinity();
    V top = V::all(lowest);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) top = larger_of(top, V::load(x + i));
    if (i < n) top = larger_of(top, V::load_first(x + i, n - i, lowest));
    const V m = V::all(top.tree_max());
    V lanes = V::all(0.0f);
    for (i = 0; i + 16 <= n; i += 16) {
      const V e = exp_of(V::load(x + i) - m);
      e.store(x + i);
      lanes = lanes + e;
    }
    if (i < n) {
      const V e = exp_of(V::load_first(x + i, n - i) - m);
      e.store_first(x + i, n - i);
      lanes = lanes + where_less(lane_numbers<V>(), V::all(static_cast<float>(n - i)), e);
    }
    const V r = V::all(1.0f / tree_sum(lanes));
    map_lanes<V>(n, x, [&](auto part) QUERN_INLINE_LAMBDA { return part(x) * r; });
  }

  static float dot(const float* a, const float* b, std::int64_t n) {
    V lanes = V::all(0.0f);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = fma(V::load(a + i), V::load(b + i), lanes);
    if (i < n) lanes = fma(V::load_first(a + i, n - i), V::load_first(b + i, n - i), lanes);
    return tree_sum(lanes);
  }

  static void causal_conv(const ConvArgs& args) {
    args.silu ? CausalConv<V, true>::run(args) : CausalConv<V, false>::run(args);
  }

  static void rope_halves(float* a, float* b, const float* cos, const float* sin, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += 16) {
      const std::int64_t rest = n - i;
      const auto lanes = [i, rest](const float* p) QUERN_INLINE_LAMBDA {
        return rest >= 16 ? V::load(p + i) : V::load_first(p + i, rest);
      };
      const V x = lanes(a), y = lanes(b), c = lanes(cos), s = lanes(sin);
      const V x2 = fma(x, c, negative(y * s)), y2 = fma(y, c, x * s);
      if (rest >= 16) {
        x2.store(a + i);
        y2.store(b + i);
      } else {
        x2.store_first(a + i, rest);
        y2.store_first(b + i, rest);
      }
    }
  }

  static QUERN_INLINE V negative(const V& x) {
    return from_bits(bits(x) ^ V::Int::all(std::numeric_limits<std::int32_t>::min()));
  }

  /// a' = fma(a, cos, b·(−sin)), b' = fma(b, cos, a·sin): one product with neighbours exchanged.
  static void rope_neighbours(float* x, const float* cos, const float* sin, std::int64_t pairs) {
    for (std::int64_t i = 0; i < pairs; i += 8) {
      const std::int64_t rest = pairs - i < 8 ? pairs - i : 8;
      float c[16] = {}, s[16] = {};
      for (std::int64_t j = 0; j < rest; ++j) {
        c[2 * j] = c[2 * j + 1] = cos[i + j];
        s[2 * j] = -sin[i + j];
        s[2 * j + 1] = sin[i + j];
      }
      const V v = rest == 8 ? V::load(x + 2 * i) : V::load_first(x + 2 * i, 2 * rest);
      const V turned = fma(v, V::load(c), Isa::template swap<1>(v) * V::load(s));
      if (rest == 8) {
        turned.store(x + 2 * i);
      } else {
        turned.store_first(x + 2 * i, 2 * rest);
      }
    }
  }

  static void rope(float* x, const float* cos, const float* sin, std::int64_t n, bool interleaved) {
    if (interleaved) {
      rope_neighbours(x, cos, sin, n / 2);
    } else {
      rope_halves(x, x + n / 2, cos, sin, n / 2);
    }
  }

  template <Activation kind>
  static void install_activation(KernelTable& table) {
    set_activation(table, kind, activation<kind>);
    set_glu(table, kind, glu<kind>);
  }

  static void install(KernelTable& table) {
    table.rms_norm = rms_norm;
    table.layer_norm = layer_norm;
    table.add = add;
    table.mul = mul;
    table.scale = scale;
    table.mix = mix;
    table.cutoff = cutoff;
    table.clamp = clamp;
    table.softcap = softcap;
    table.softplus = softplus;
    table.softmax = softmax;
    table.dot = dot;
    table.causal_conv = causal_conv;
    table.scan = Scan<V>::run;
    table.rope = rope;
    table.rope_angles = rope_angles;
    install_activation<Activation::kSilu>(table);
    install_activation<Activation::kGeluTanh>(table);
    install_activation<Activation::kGeluErf>(table);
    install_activation<Activation::kRelu>(table);
    install_activation<Activation::kRelu2>(table);
    install_activation<Activation::kTanh>(table);
    install_activation<Activation::kSigmoid>(table);
  }
};

}  // namespace
}  // namespace quern::kernels
