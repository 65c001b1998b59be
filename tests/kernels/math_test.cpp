// Accuracy of our own functions against the C library's in long double, and their limits.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "base/scalar_math.h"
#include "kernels/generic/lane.h"
#include "kernels/generic/math.h"
#include "kernels/harness.h"

namespace quern::kernels::test {
namespace {

using Reference = long double (*)(long double);

/// Largest error in units in the last place over [low, high].
template <class F>
double worst_ulp(F f, Reference reference, float low, float high) {
  double worst = 0;
  constexpr int kSteps = 400000;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = low + (high - low) * (static_cast<float>(i) / kSteps);
    const long double want = reference(x);
    const auto rounded = std::fabs(static_cast<float>(want));
    if (std::isinf(rounded)) continue;
    const float ulp = std::nextafter(rounded, std::numeric_limits<float>::infinity()) - rounded;
    const auto error = static_cast<double>(std::fabs(want - static_cast<long double>(f(x))) /
                                           static_cast<long double>(ulp));
    worst = error > worst ? error : worst;
  }
  return worst;
}

/// Largest error over [low, high] as a share of the result.
template <class F>
double worst_share(F f, Reference reference, float low, float high) {
  double worst = 0;
  constexpr int kSteps = 400000;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = low + (high - low) * (static_cast<float>(i) / kSteps);
    const long double want = reference(x);
    const auto error =
        static_cast<double>(std::fabs((want - static_cast<long double>(f(x))) / want));
    worst = error > worst ? error : worst;
  }
  return worst;
}

double worst_relative(double (*f)(double), Reference reference, double low, double high) {
  Random random(31);
  double worst = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = low + (high - low) * (double(random.uniform()) * 0.5 + 0.5);
    const long double want = reference(x);
    const auto error =
        static_cast<double>(std::fabs((want - static_cast<long double>(f(x))) / want));
    worst = error > worst ? error : worst;
  }
  return worst;
}

float exp_lane(float x) { return exp_of(Lane{x}).v; }
float tanh_lane(float x) { return tanh_of(Lane{x}).v; }
float gelu_lane(float x) { return gelu_of(Lane{x}).v; }
float softplus_lane(float x) { return softplus_of(Lane{x}).v; }
float sigmoid_lane(float x) { return activate<Activation::kSigmoid>(Lane{x}).v; }
float silu_lane(float x) { return activate<Activation::kSilu>(Lane{x}).v; }
float decay_lane(float x) { return exp2_decay(Lane{x}).v; }

long double exp_long(long double x) { return std::exp(x); }
long double exp2_long(long double x) { return std::exp2(x); }
long double tanh_long(long double x) { return std::tanh(x); }
long double gelu_long(long double x) { return x * std::erfc(-x * std::sqrt(0.5L)) / 2; }
long double softplus_long(long double x) { return std::log1p(std::exp(x)); }
long double sigmoid_long(long double x) { return 1.0L / (1.0L + std::exp(-x)); }
long double log_long(long double x) { return std::log(x); }
long double sin_long(long double x) { return std::sin(x); }
long double cos_long(long double x) { return std::cos(x); }

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("exp, tanh and softplus are within their units in the last place") {
  CHECK(worst_ulp(exp_lane, exp_long, -105.0f, 88.7f) <= 2.0);
  CHECK(worst_ulp(exp_lane, exp_long, -1.0f, 1.0f) <= 2.0);
  CHECK(worst_ulp(tanh_lane, tanh_long, -12.0f, 12.0f) <= 4.0);
  CHECK(worst_ulp(tanh_lane, tanh_long, -0.7f, 0.7f) <= 4.0);
  CHECK(worst_ulp(softplus_lane, softplus_long, -1.0f, 40.0f) <= 3.0);
}

TEST_CASE("softplus of what is far below zero loses little of it") {
  CHECK(worst_share(softplus_lane, softplus_long, -20.0f, 0.0f) <= 5e-7);
  CHECK(worst_share(softplus_lane, softplus_long, -87.0f, -20.0f) <= 1.4e-6);
}

TEST_CASE("the sigmoid and SiLU lose little, and end well") {
  CHECK(worst_share(sigmoid_lane, sigmoid_long, -10.0f, 87.0f) <= 4e-7);
  CHECK(worst_share(sigmoid_lane, sigmoid_long, -87.0f, -10.0f) <= 1.4e-6);
  CHECK(sigmoid_lane(0.0f) == 0.5f);
  CHECK(sigmoid_lane(kInfinity) == 1.0f);
  CHECK(sigmoid_lane(-kInfinity) < 2e-38f);
  CHECK(sigmoid_lane(-kInfinity) > 0.0f);
  CHECK(silu_lane(kInfinity) == kInfinity);
  CHECK(silu_lane(20.0f) == 20.0f);
  CHECK(std::fabs(silu_lane(-1e6f)) < 1e-31f);
  CHECK(std::isnan(sigmoid_lane(kNan)));
  CHECK(std::isnan(silu_lane(kNan)));
}

TEST_CASE("the exact GELU loses little, the less the larger it is") {
  CHECK(worst_share(gelu_lane, gelu_long, -6.5f, -3.0f) <= 6e-6);
  CHECK(worst_share(gelu_lane, gelu_long, -3.0f, -1.0f) <= 1.2e-6);
  CHECK(worst_share(gelu_lane, gelu_long, -1.0f, -1e-6f) <= 5.6e-7);
  CHECK(worst_share(gelu_lane, gelu_long, 1e-6f, 1.0f) <= 4e-7);
  CHECK(worst_share(gelu_lane, gelu_long, 1.0f, 20.0f) <= 1.2e-7);
}

TEST_CASE("decays are within 5.5e-6 of themselves, slow ones within a rounding, and end well") {
  CHECK(worst_share(decay_lane, exp2_long, -126.0f, 0.0f) <= 5.5e-6);
  CHECK(worst_share(decay_lane, exp2_long, -1.0f, 0.0f) <= 5.5e-6);
  CHECK(worst_share(decay_lane, exp2_long, -0.01f, 0.0f) <= 6e-8);
  CHECK(decay_lane(0.0f) == 1.0f);
  CHECK(decay_lane(-0.0f) == 1.0f);
  CHECK(decay_lane(-126.0f) == std::ldexp(1.0f, -126));
  CHECK(decay_lane(-1e30f) == std::ldexp(1.0f, -126));
  CHECK(decay_lane(-kInfinity) == std::ldexp(1.0f, -126));
  CHECK(std::isnan(decay_lane(kNan)));
}

TEST_CASE("exp, tanh, GELU and softplus behave at the ends of their ranges") {
  CHECK(exp_lane(kInfinity) == kInfinity);
  CHECK(exp_lane(-kInfinity) == 0.0f);
  CHECK(exp_lane(0.0f) == 1.0f);
  CHECK(exp_lane(-0.0f) == 1.0f);
  CHECK(exp_lane(88.8f) == kInfinity);
  CHECK(exp_lane(-103.0f) > 0.0f);
  CHECK(std::isnan(exp_lane(kNan)));
  CHECK(tanh_lane(kInfinity) == 1.0f);
  CHECK(tanh_lane(-kInfinity) == -1.0f);
  CHECK(std::fabs(tanh_lane(1e-40f) - 1e-40f) <= 4 * std::numeric_limits<float>::denorm_min());
  CHECK(std::signbit(tanh_lane(-0.0f)));
  CHECK(std::isnan(tanh_lane(kNan)));
  CHECK(gelu_lane(kInfinity) == kInfinity);
  CHECK(std::fabs(gelu_lane(-kInfinity)) < 3e-10f);
  CHECK(gelu_lane(-100.0f) == gelu_lane(-6.5f));
  CHECK(gelu_lane(7.0f) == 7.0f);
  CHECK(gelu_lane(0.0f) == 0.0f);
  CHECK(std::signbit(gelu_lane(-0.0f)));
  CHECK(std::isnan(gelu_lane(kNan)));
  CHECK(softplus_lane(kInfinity) == kInfinity);
  CHECK(softplus_lane(-kInfinity) == softplus_lane(-87.0f));
  CHECK(softplus_lane(-87.0f) < 2e-38f);
  CHECK(softplus_lane(0.0f) == std::log(2.0f));
  CHECK(softplus_lane(20.0f) == 20.0f);
  CHECK(softplus_lane(1e30f) == 1e30f);
  CHECK(softplus_lane(-100.0f) > 0.0f);
  CHECK(std::isnan(softplus_lane(kNan)));
}

TEST_CASE("double functions are accurate to 1e-15") {
  CHECK(worst_relative(base::exp, exp_long, -700.0, 700.0) < 1e-15);
  CHECK(worst_relative(base::log, log_long, 1e-9, 2.0) < 1e-15);
  CHECK(worst_relative(base::log, log_long, 0.999, 1.001) < 1e-15);
  CHECK(worst_relative(base::tanh, tanh_long, -3.0, 3.0) < 1e-15);
  const auto sine = [](double x) { return base::sin_cos(x).sin; };
  const auto cosine = [](double x) { return base::sin_cos(x).cos; };
  CHECK(worst_relative(sine, sin_long, -4.0, 4.0) < 1e-15);
  CHECK(worst_relative(sine, sin_long, -1e7, 1e7) < 1e-15);
  CHECK(worst_relative(cosine, cos_long, -1e7, 1e7) < 1e-15);
  const auto power = [](double x) { return base::pow(x, 50.3); };
  CHECK(worst_relative(
            power, [](long double x) { return std::pow(x, 50.3l + 0.0l * x); }, 0.01,
            90.0) < 1e-13);  // 50.3l is not the double 50.3: that is the error seen.
  CHECK(base::pow(2.0, 10.0) == 1024.0);
  CHECK(base::pow(-2.0, 3.0) == -8.0);
  CHECK(base::pow(10000.0, 0.0) == 1.0);
  CHECK(base::exp(-800.0) == 0.0);
  CHECK(std::isinf(base::exp(800.0)));
  CHECK(std::isnan(base::log(-1.0)));
  CHECK(std::isnan(base::sin_cos(std::numeric_limits<double>::infinity()).sin));
}

TEST_CASE("rope angles are those of a float32 product") {
  const float inv_freq[3] = {1.0f, 0.1f, 1e-4f};
  float cos[3], sin[3];
  oracle().rope_angles(123456, inv_freq, 3, 2.0f, cos, sin);
  for (int i = 0; i < 3; ++i) {
    const float angle = 123456.0f * inv_freq[i];
    CHECK(cos[i] == doctest::Approx(2.0 * std::cos(double(angle))).epsilon(1e-7));
    CHECK(sin[i] == doctest::Approx(2.0 * std::sin(double(angle))).epsilon(1e-7));
  }
}

}  // namespace quern::kernels::test
