// Row-wise operations of the oracle: plain loops in the order that kernel_table.h states.
#include <cmath>
#include <limits>

#include "kernels/generic/lane.h"
#include "kernels/generic/math.h"
#include "kernels/generic/rope_angles.h"
#include "kernels/install.h"
#include "kernels/scalar/parts.h"

namespace quern::kernels {

float tree_sum(float* lanes) {
  for (int w = 8; w >= 1; w /= 2) {
    for (int i = 0; i < w; ++i) lanes[i] += lanes[i + w];
  }
  return lanes[0];
}

float exp_scalar(float x) { return exp_of(Lane{x}).v; }
float exp2_scalar(float x) { return exp2_of(Lane{x}).v; }
float exp2_short_scalar(float x) { return exp2_short(Lane{x}).v; }
float log2_scalar(float x) { return log2_of(Lane{x}).v; }
float tanh_scalar(float x) { return tanh_of(Lane{x}).v; }

namespace {

float square_sum(const float* x, float minus, std::int64_t n) {
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const float d = x[i] - minus;
    lanes[i % 16] = std::fma(d, d, lanes[i % 16]);
  }
  return tree_sum(lanes);
}

float mean_of(const float* x, std::int64_t n) {
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i % 16] += x[i];
  return tree_sum(lanes) / static_cast<float>(n);
}

void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* y) {
  if (n == 0) return;
  const float mean = square_sum(x, 0.0f, n) / static_cast<float>(n);
  const float r = 1.0f / std::sqrt(mean + eps);
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i] * r;
    y[i] = weight == nullptr ? v : v * weight[i];
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, std::int64_t n,
                float* y) {
  if (n == 0) return;
  const float mean = mean_of(x, n);
  const float variance = square_sum(x, mean, n) / static_cast<float>(n);
  const float r = 1.0f / std::sqrt(variance + eps);
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = (x[i] - mean) * r;
    const float w = weight == nullptr ? 1.0f : weight[i];
    y[i] = std::fma(v, w, bias == nullptr ? 0.0f : bias[i]);
  }
}

void add(const float* a, const float* b, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}
void mul(const float* a, const float* b, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}
void scale(const float* x, float s, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = s * x[i];
}
void mix(const float* base, const float* const* xs, const float* factors, std::int64_t count,
         std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    float sum = base[i];
    for (std::int64_t j = 0; j < count; ++j) sum = std::fma(factors[j], xs[j][i], sum);
    y[i] = sum;
  }
}
void cutoff(const float* x, float deviations, std::int64_t n, float* y) {
  if (n == 0) return;
  const float mean = mean_of(x, n);
  const float root = std::sqrt(square_sum(x, mean, n) / static_cast<float>(n));
  const float cut = mean + root * deviations;
  for (std::int64_t i = 0; i < n; ++i) y[i] = activate<Activation::kRelu>(Lane{x[i] - cut}).v;
}
void clamp(const float* x, float limit, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = x[i] < -limit ? -limit : x[i];
    y[i] = limit < v ? limit : v;
  }
}
void softcap(const float* x, float cap, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = cap * tanh_scalar(x[i] / cap);
}

void softplus(const float* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = softplus_of(Lane{x[i]}).v;
}

template <Activation kind>
void activation(const float* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = activate<kind>(Lane{x[i]}).v;
}
template <Activation kind>
void glu(const float* gate, const float* up, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = activate<kind>(Lane{gate[i]}).v * up[i];
}
template <Activation kind>
void install_activation(KernelTable& table) {
  set_activation(table, kind, activation<kind>);
  set_glu(table, kind, glu<kind>);
}

void softmax(float* x, std::int64_t n) {
  if (n == 0) return;
  float lanes[16];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) {
    if (lanes[i % 16] < x[i]) lanes[i % 16] = x[i];
  }
  const float top = tree_max(lanes);
  for (float& lane : lanes) lane = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = exp_scalar(x[i] - top);
    lanes[i % 16] += x[i];
  }
  const float r = 1.0f / tree_sum(lanes);
  for (std::int64_t i = 0; i < n; ++i) x[i] *= r;
}

float dot(const float* a, const float* b, std::int64_t n) {
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i % 16] = std::fma(a[i], b[i], lanes[i % 16]);
  return tree_sum(lanes);
}

void causal_conv(const ConvArgs& args) {
  const std::int64_t n = args.kernel - 1, cols = args.cols;
  for (std::int64_t t = 0; t < args.rows; ++t) {
    for (std::int64_t c = args.begin; c < args.end; ++c) {
      const float x = args.x[t * cols + c];
      float sum = args.bias == nullptr ? 0.0f : args.bias[c];
      for (std::int64_t j = 0; j < n; ++j)
        sum = std::fma(args.weight[j * cols + c], args.past[j * cols + c], sum);
      sum = std::fma(args.weight[n * cols + c], x, sum);
      args.out[t * cols + c] = args.silu ? activate<Activation::kSilu>(Lane{sum}).v : sum;
      for (std::int64_t j = 0; j < n; ++j)
        args.past[j * cols + c] = j + 1 < n ? args.past[(j + 1) * cols + c] : x;
    }
  }
}

/// One row of one column of a scan.
struct ScanColumn {
  const ScanArgs& args;
  std::int64_t row, column, head;

  float step() const { return args.step[row * args.step_stride + head]; }
  float decay(std::int64_t j) const {
    const float rate = args.rates == 1 ? args.a[head] : args.a[place(j)];
    return exp2_decay(Lane{(step() * 1.44269504f) * rate}).v;
  }
  std::int64_t place(std::int64_t i) const {
    const std::int64_t numbers = args.rates == 1 ? args.n + 1 : args.n;
    const std::int64_t block = column / kScanColumns, lane = column % kScanColumns;
    return (block * numbers + i) * kScanColumns + lane;
  }
  float& number(std::int64_t i) const { return args.state[place(i)]; }
  float b(std::int64_t j) const { return args.b[row * args.b_stride + j]; }

  void advance(float x) const {
    for (std::int64_t j = 0; j < args.n; ++j)
      number(j) = std::fma(decay(j), number(j), (step() * x) * b(j));
  }
  void advance_scaled(float x) const {
    float& scale = number(0);
    scale = scale * decay(0);
    if (scale < kScanLeastScale) {
      for (std::int64_t j = 1; j <= args.n; ++j) number(j) *= scale;
      scale = 1.0f;
    }
    const float weight = (step() / scale) * x;
    for (std::int64_t j = 0; j < args.n; ++j) number(1 + j) = std::fma(weight, b(j), number(1 + j));
  }
  float sum(std::int64_t first_number) const {
    float sum = 0.0f, part = 0.0f;
    for (std::int64_t j = 0; j < args.n; ++j) {
      part = std::fma(number(first_number + j), args.c[row * args.b_stride + j], part);
      if ((j + 1) % kScanSum != 0 && j + 1 != args.n) continue;
      sum += part;
      part = 0.0f;
    }
    return sum;
  }
  float run(float x) const {
    if (args.rates == 1) {
      advance_scaled(x);
      return std::fma(args.skip[head], x, number(0) * sum(1));
    }
    advance(x);
    return std::fma(args.skip[head], x, sum(0));
  }
};

void scan(const ScanArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t p = 0; p < args.columns; ++p) {
      const ScanColumn column{args, row, p, (args.offset + p) / args.head_dim};
      args.out[row * args.x_stride + p] = column.run(args.x[row * args.x_stride + p]);
    }
  }
}

void rope(float* x, const float* cos, const float* sin, std::int64_t n, bool interleaved) {
  for (std::int64_t i = 0; i < n / 2; ++i) {
    float& a = x[interleaved ? 2 * i : i];
    float& b = x[interleaved ? 2 * i + 1 : i + n / 2];
    const float c = std::fma(a, cos[i], -(b * sin[i]));
    const float d = std::fma(b, cos[i], a * sin[i]);
    a = c;
    b = d;
  }
}

}  // namespace

float tree_max(float* lanes) {
  for (int w = 8; w >= 1; w /= 2) {
    for (int i = 0; i < w; ++i) {
      if (lanes[i] < lanes[i + w]) lanes[i] = lanes[i + w];
    }
  }
  return lanes[0];
}

void install_scalar_vector(KernelTable& table) {
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
  table.scan = scan;
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

}  // namespace quern::kernels
