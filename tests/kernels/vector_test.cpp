// Row-wise operations: bits of every instruction set against the oracle's.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/harness.h"

namespace quern::kernels::test {
namespace {

/// One operation on a, b, c of n elements into y.
struct Operation {
  const char* name;
  std::function<void(const KernelTable&, const float* a, const float* b, const float* c,
                     std::int64_t n, float* y)>
      run;
};

using Input = const float*;

std::vector<Operation> operations() {
  std::vector<Operation> all = {
      {"rms_norm", [](const KernelTable& k, Input a, Input b, Input, std::int64_t n,
                      float* y) { k.rms_norm(a, b, 1e-5f, n, y); }},
      {"rms_norm without weight", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                                     float* y) { k.rms_norm(a, nullptr, 1e-6f, n, y); }},
      {"layer_norm", [](const KernelTable& k, Input a, Input b, Input c, std::int64_t n,
                        float* y) { k.layer_norm(a, b, c, 1e-5f, n, y); }},
      {"layer_norm without weight", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                                       float* y) { k.layer_norm(a, nullptr, nullptr, 0, n, y); }},
      {"add", [](const KernelTable& k, Input a, Input b, Input, std::int64_t n,
                 float* y) { k.add(a, b, n, y); }},
      {"mul", [](const KernelTable& k, Input a, Input b, Input, std::int64_t n,
                 float* y) { k.mul(a, b, n, y); }},
      {"scale", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                   float* y) { k.scale(a, 0.37f, n, y); }},
      {"mix",
       [](const KernelTable& k, Input a, Input b, Input c, std::int64_t n, float* y) {
         const Input xs[] = {b, c, a};
         const float factors[] = {-1.7f, 0.3f, 1.1f};
         k.mix(a, xs, factors, 3, n, y);
       }},
      {"cutoff", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                    float* y) { k.cutoff(a, 0.84f, n, y); }},
      {"clamp", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                   float* y) { k.clamp(a, 0.5f, n, y); }},
      {"softcap", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                     float* y) { k.softcap(a, 3.0f, n, y); }},
      {"softplus", [](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                      float* y) { k.softplus(a, n, y); }},
      {"softmax",
       [](const KernelTable& k, Input a, Input, Input, std::int64_t n, float* y) {
         std::copy_n(a, n, y);
         k.softmax(y, n);
       }},
      {"rope angles",
       [](const KernelTable& k, Input a, Input, Input, std::int64_t n, float* y) {
         if (n % 2 == 1) y[n - 1] = 0.0f;
         k.rope_angles(4095, a, n / 2, 1.25f, y, y + n / 2);
       }},
      {"dot",
       [](const KernelTable& k, Input a, Input b, Input, std::int64_t n, float* y) {
         std::fill_n(y, n, 0.0f);
         const float sum = k.dot(a, b, n);
         if (n > 0) y[0] = sum;
       }},
  };
  for (const bool interleaved : {false, true}) {
    all.push_back({interleaved ? "rope of neighbours" : "rope of halves",
                   [=](const KernelTable& k, Input a, Input b, Input c, std::int64_t n, float* y) {
                     std::copy_n(a, n, y);
                     k.rope(y, b, c, n, interleaved);
                   }});
  }
  for (std::size_t f = 0; f < kActivations; ++f) {
    all.push_back({"activation", [=](const KernelTable& k, Input a, Input, Input, std::int64_t n,
                                     float* y) { k.activation[f](a, n, y); }});
    all.push_back({"glu", [=](const KernelTable& k, Input a, Input b, Input, std::int64_t n,
                              float* y) { k.glu[f](a, b, n, y); }});
  }
  return all;
}

void compare(const Operation& op, std::int64_t n, Random& random, bool wild, float size) {
  Guarded a(4 * n), b(4 * n), c(4 * n), want(4 * n), got(4 * n);
  for (const Guarded* x : {&a, &b, &c}) {
    for (std::int64_t i = 0; i < n; ++i) x->floats()[i] = random.number(wild) * size;
  }
  op.run(oracle(), a.floats(), b.floats(), c.floats(), n, want.floats());
  for (const KernelTable* table : tables()) {
    op.run(*table, a.floats(), b.floats(), c.floats(), n, got.floats());
    const std::int64_t at = first_difference(want.floats(), got.floats(), n);
    CAPTURE(std::string(table->isa));
    CAPTURE(std::string(op.name));
    CAPTURE(n);
    CAPTURE(at);
    CHECK(at == -1);
  }
}

/// Columns of a convolution: the oracle's numbers of out and past against every table's.
void compare_convolutions(ConvArgs args, bool biased, bool wild, Random& random) {
  const auto numbers = [&](std::int64_t count) {
    std::vector<float> x;
    for (std::int64_t i = 0; i < count; ++i) x.push_back(random.number(wild));
    return x;
  };
  const std::vector<float> weight = numbers(args.cols * args.kernel), bias = numbers(args.cols);
  const std::vector<float> x = numbers(args.rows * args.cols);
  const std::vector<float> before = numbers(args.cols * (args.kernel - 1 + args.rows));
  args.weight = weight.data();
  args.bias = biased ? bias.data() : nullptr;
  args.x = x.data();
  const auto run = [&](const KernelTable& table) {
    std::vector<float> all = before;
    args.past = all.data();
    args.out = all.data() + args.cols * (args.kernel - 1);
    table.causal_conv(args);
    return all;
  };
  const std::vector<float> want = run(oracle());
  for (const KernelTable* table : tables()) {
    const std::vector<float> got = run(*table);
    CAPTURE(std::string(table->isa));
    CAPTURE(args.rows);
    CAPTURE(args.cols);
    CAPTURE(args.kernel);
    CHECK(first_difference(want.data(), got.data(), static_cast<std::int64_t>(want.size())) == -1);
  }
}

/// Columns of a scan, and whose they are.
struct ScanShape {
  std::int64_t columns, offset, head_dim, n;
  bool one_rate;

  std::int64_t heads() const { return (offset + columns - 1) / head_dim + 1; }
  std::int64_t state() const { return (columns + 15) / 16 * 16 * (one_rate ? n + 1 : n); }
  /// Number `i` of the state is of a column.
  bool is_real(std::int64_t i) const {
    const std::int64_t block = i / 16 / (one_rate ? n + 1 : n);
    return block * 16 + i % 16 < columns;
  }
};

/// Two calls of a scan: the oracle's numbers of out and state against every table's.
void compare_scans(const ScanShape& shape, bool wild, Random& random) {
  constexpr std::int64_t kRows = 5, kFirst = 3;
  const std::int64_t heads = shape.heads(), rates = shape.one_rate ? 1 : shape.n;
  const std::int64_t columns = shape.columns, n = shape.n, floats = shape.state();
  const auto numbers = [&](std::int64_t count) {
    std::vector<float> x;
    for (std::int64_t i = 0; i < count; ++i) x.push_back(random.number(wild));
    return x;
  };
  std::vector<float> a = numbers(shape.one_rate ? heads : floats),
                     step = numbers(kRows * (heads + 1));
  for (float& rate : a) rate = wild ? rate : -std::fabs(rate);
  for (float& d : step) d = wild ? d : std::fabs(d);
  step[1] = 40.0f;  // Some states are forgotten at once.
  const std::vector<float> skip = numbers(heads), b = numbers(kRows * (n + 2));
  const std::vector<float> c = numbers(kRows * (n + 2)), x = numbers(kRows * columns);
  const auto run = [&](const KernelTable& table) {
    std::vector<float> all(static_cast<std::size_t>(floats + columns * kRows));
    for (const std::int64_t row : {std::int64_t{0}, kFirst}) {
      const std::int64_t rows = row == 0 ? kFirst : kRows - kFirst;
      table.scan({rows, columns, shape.offset, shape.head_dim, n, a.data(), rates, skip.data(),
                  step.data() + row * (heads + 1), heads + 1, b.data() + row * (n + 2),
                  c.data() + row * (n + 2), n + 2, x.data() + row * columns,
                  all.data() + floats + row * columns, columns, all.data()});
    }
    for (std::int64_t i = 0; i < floats; ++i) {
      if (!shape.is_real(i)) all[static_cast<std::size_t>(i)] = 0.0f;
    }
    return all;
  };
  const std::vector<float> want = run(oracle());
  for (const KernelTable* table : tables()) {
    const std::vector<float> got = run(*table);
    CAPTURE(std::string(table->isa));
    CAPTURE(columns);
    CAPTURE(shape.offset);
    CAPTURE(shape.head_dim);
    CAPTURE(n);
    CAPTURE(shape.one_rate);
    CHECK(first_difference(want.data(), got.data(), floats + columns * kRows) == -1);
  }
}

}  // namespace

TEST_CASE("every row operation gives the oracle's bits for every length") {
  Random random(11);
  for (const Operation& op : operations()) {
    for (std::int64_t n = 0; n <= 50; ++n) compare(op, n, random, false, 1.0f);
    for (const std::int64_t n : {64, 100, 576, 1001}) compare(op, n, random, false, 4.0f);
  }
}

TEST_CASE("every row operation gives the oracle's bits for NaN, infinities and denormals") {
  Random random(12);
  for (const Operation& op : operations()) {
    for (std::int64_t n = 1; n <= 60; ++n) compare(op, n, random, true, 20.0f);
  }
}

TEST_CASE("a causal convolution gives the oracle's bits, in its past too") {
  Random random(15);
  for (const bool wild : {false, true}) {
    for (const std::int64_t kernel : {1, 2, 3, 4, 8, 9, 21}) {
      for (const std::int64_t rows : {1, 2, 3, 7, 30}) {
        for (const std::int64_t cols : {1, 16, 37}) {
          for (const bool silu : {false, true}) {
            ConvArgs args{rows,    cols,    kernel,  cols / 5, cols, nullptr,
                          nullptr, nullptr, nullptr, nullptr,  silu};
            compare_convolutions(args, kernel % 2 == 0, wild, random);
          }
        }
      }
    }
  }
}

TEST_CASE("a scan gives the oracle's bits, in its state too") {
  Random random(14);
  for (const bool wild : {false, true}) {
    for (const std::int64_t n : {1, 7, 8, 9, 15, 16, 17, 32, 40, 128}) {
      for (const std::int64_t columns : {1, 2, 15, 16, 37, 64}) {
        for (const std::int64_t head_dim : {1, 3, 16, 20, 64}) {
          for (const std::int64_t offset : {std::int64_t{0}, head_dim / 2}) {
            for (const bool one_rate : {false, true}) {
              const ScanShape shape{columns, offset, head_dim, n, one_rate};
              if (shape.heads() > kScanHeads || (n == 1 && !one_rate)) continue;
              compare_scans(shape, wild, random);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a scan of own rates is what its formula says") {
  const float b[2] = {1.0f, 2.0f}, c[2] = {3.0f, -1.0f};
  float a[32] = {-1.0f};
  a[16] = -0.5f;
  const float skip = 0.25f, step = 0.5f, x = 2.0f;
  for (const KernelTable* table : tables()) {
    float state[32] = {}, out = 0.0f;
    state[0] = 1.0f;
    state[16] = 4.0f;
    table->scan({1, 1, 0, 1, 2, a, 2, &skip, &step, 1, b, c, 2, &x, &out, 1, state});
    const double first = std::exp(-0.5) + 1.0, second = 4.0 * std::exp(-0.25) + 2.0;
    constexpr double kDecayError = 5.5e-6;  // Of exp2_decay.
    CHECK(std::fabs(state[0] - first) <= kDecayError * first);
    CHECK(std::fabs(state[16] - second) <= kDecayError * second);
    CHECK(std::fabs(out - (0.5 + 3.0 * first - second)) <= kDecayError * (3.0 * first + second));
  }
}

/// `rows` rows of one column of two numbers with the same step: the last result, in double.
double last_of_scan(double rate, double step, double x, int rows) {
  const double b[2] = {1.0, 2.0}, c[2] = {3.0, -1.0}, decay = std::exp(rate * step);
  double s[2] = {};
  for (int t = 0; t < rows; ++t) {
    for (int j = 0; j < 2; ++j) s[j] = decay * s[j] + step * x * b[j];
  }
  return 0.25 * x + s[0] * c[0] + s[1] * c[1];
}

TEST_CASE("a scan of one rate is what its formula says, however fast and long it forgets") {
  const float b[64] = {1.0f, 2.0f}, c[64] = {3.0f, -1.0f}, skip = 0.25f;
  float x[kScanRows], steps[kScanRows], out[kScanRows];
  for (float& number : x) number = 2.0f;
  for (const float step : {1e-3f, 0.5f, 3.0f, 30.0f, 300.0f}) {
    for (float& number : steps) number = step;
    const float a = -1.5f;
    for (const KernelTable* table : tables()) {
      float state[48] = {};
      for (int call = 1; call <= 20; ++call) {
        table->scan({kScanRows, 1, 0, 1, 2, &a, 1, &skip, steps, 1, b, c, 0, x, out, 1, state});
        const double want = last_of_scan(-1.5, double(step), 2.0, call * int(kScanRows));
        CAPTURE(step);
        CAPTURE(call);
        CHECK(out[kScanRows - 1] == doctest::Approx(want).epsilon(2e-6));
      }
    }
  }
}

TEST_CASE("element-wise functions give the oracle's bits over their whole range") {
  std::vector<float> x, want, got;
  for (int i = -11000; i <= 11000; ++i) x.push_back(static_cast<float>(i) * 0.01f);
  want = got = x;
  const auto n = static_cast<std::int64_t>(x.size());
  // The last one is softplus, which has a slot of its own.
  for (std::size_t f = 0; f <= kActivations; ++f) {
    const auto run = [&](const KernelTable& table, std::vector<float>& y) {
      f < kActivations ? table.activation[f](x.data(), n, y.data())
                       : table.softplus(x.data(), n, y.data());
    };
    run(oracle(), want);
    for (const KernelTable* table : tables()) {
      run(*table, got);
      CAPTURE(std::string(table->isa));
      CAPTURE(f);
      CHECK(first_difference(want.data(), got.data(), n) == -1);
    }
  }
}

TEST_CASE("an operation may write over its input") {
  Random random(13);
  for (const KernelTable* table : tables()) {
    Guarded x(4 * 37), w(4 * 37), y(4 * 37);
    for (int i = 0; i < 37; ++i) {
      x.floats()[i] = random.number(false);
      w.floats()[i] = random.number(false);
    }
    table->rms_norm(x.floats(), w.floats(), 1e-5f, 37, y.floats());
    table->rms_norm(x.floats(), w.floats(), 1e-5f, 37, x.floats());
    CHECK(first_difference(x.floats(), y.floats(), 37) == -1);
    table->glu[0](x.floats(), w.floats(), 37, y.floats());
    table->glu[0](x.floats(), w.floats(), 37, w.floats());
    CHECK(first_difference(w.floats(), y.floats(), 37) == -1);
  }
}

}  // namespace quern::kernels::test
