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
      {"add_scaled",
       [](const KernelTable& k, Input a, Input b, Input, std::int64_t n, float* y) {
         std::copy_n(b, n, y);
         k.add_scaled(a, -1.7f, n, y);
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

TEST_CASE("a scan gives the oracle's bits, in its state too") {
  Random random(14);
  for (const bool wild : {false, true}) {
    for (const std::int64_t n : {1, 7, 15, 16, 17, 31, 32, 40, 64, 128}) {
      for (const std::int64_t head_dim : {1, 3}) {
        const auto numbers = [&](std::int64_t count) {
          std::vector<float> x;
          for (std::int64_t i = 0; i < count; ++i) x.push_back(random.number(wild));
          return x;
        };
        std::vector<float> a = numbers(n), b = numbers(n), c = numbers(n), x = numbers(head_dim);
        for (float& rate : a) rate = wild ? rate : -std::fabs(rate);
        const std::vector<float> before = numbers(head_dim * n);
        for (const bool one_rate : {false, true}) {
          const auto run = [&](const KernelTable& table) {
            std::vector<float> all = before;
            all.resize(static_cast<std::size_t>(head_dim * (n + 1)));
            table.scan({a.data(), one_rate, 0.7f, 1.3f, b.data(), c.data(), x.data(), head_dim, n,
                        all.data(), all.data() + head_dim * n});
            return all;
          };
          const std::vector<float> want = run(oracle());
          for (const KernelTable* table : tables()) {
            const std::vector<float> got = run(*table);
            CAPTURE(std::string(table->isa));
            CAPTURE(n);
            CHECK(first_difference(want.data(), got.data(), head_dim * (n + 1)) == -1);
          }
        }
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
