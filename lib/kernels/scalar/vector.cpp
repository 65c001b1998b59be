// Row-wise operations of the oracle: plain loops in the order that kernel_table.h states.
#include <cmath>
#include <limits>

#include "kernels/generic/lane.h"
#include "kernels/generic/math.h"
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
void add_scaled(const float* x, float s, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::fma(s, x[i], y[i]);
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
  const std::int64_t n = args.kernel - 1;
  for (std::int64_t t = 0; t < args.rows; ++t) {
    for (std::int64_t c = args.begin; c < args.end; ++c) {
      const float* w = args.weight + c * args.kernel;
      const float x = args.x[t * args.cols + c];
      float* past = args.past + c * n;
      float sum = 0.0f;
      for (std::int64_t j = 0; j < n; ++j) sum += w[j] * past[j];
      sum += w[n] * x;
      args.out[t * args.cols + c] = args.bias == nullptr ? sum : sum + args.bias[c];
      if (n == 0) continue;
      for (std::int64_t j = 0; j + 1 < n; ++j) past[j] = past[j + 1];
      past[n - 1] = x;
    }
  }
}

/// One row of one column.
float scan_column(const ScanArgs& args, std::int64_t row, std::int64_t head, std::int64_t column) {
  const float d = args.step[row * args.step_stride + head];
  const float r = d * 1.44269504f;
  const float x = args.x[row * args.x_stride + column];
  const float* rates = args.a + head * args.rates;
  float decay = exp2_scalar(r * rates[0]);
  float lanes[16] = {};
  for (std::int64_t j = 0; j < args.n; ++j) {
    if (j > 0 && args.rates > 1) decay = exp2_scalar(r * rates[j]);
    float& s = args.state[column * args.n + j];
    s = std::fma(decay, s, (d * x) * args.b[row * args.b_stride + j]);
    lanes[j % 16] = std::fma(s, args.c[row * args.b_stride + j], lanes[j % 16]);
  }
  return std::fma(args.skip[head], x, tree_sum(lanes));
}

void scan(const ScanArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t column = 0; column < args.heads * args.head_dim; ++column)
      args.out[row * args.x_stride + column] =
          scan_column(args, row, column / args.head_dim, column);
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
  table.add_scaled = add_scaled;
  table.cutoff = cutoff;
  table.clamp = clamp;
  table.softcap = softcap;
  table.softplus = softplus;
  table.softmax = softmax;
  table.dot = dot;
  table.causal_conv = causal_conv;
  table.scan = scan;
  table.rope = rope;
  install_activation<Activation::kSilu>(table);
  install_activation<Activation::kGeluTanh>(table);
  install_activation<Activation::kGeluErf>(table);
  install_activation<Activation::kRelu>(table);
  install_activation<Activation::kRelu2>(table);
  install_activation<Activation::kTanh>(table);
  install_activation<Activation::kSigmoid>(table);
}

}  // namespace quern::kernels
