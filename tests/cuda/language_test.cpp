// The words that kernels are written in mean what CUDA's manual says, here and on a device.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/test_device.h"
#include "cuda/test_kernels.h"

namespace quern::backends::cuda {
namespace {

using Ints = std::vector<std::int32_t>;

Ints counting(std::size_t n) {
  Ints values(n);
  std::iota(values.begin(), values.end(), -5);
  return values;
}

/// Runs `work` with the device's threads in order and, where the device is emulated, in reverse.
template <class Work>
void in_both_orders(Work&& work) {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  work(*test);
  if (Emulator::is_present()) {
    const Emulator reversed({{"is_reversed", 1}});
    work(*test);
  }
}

Ints run_ints(TestDevice& test, const char* name, const Ints& in, std::size_t n_out, Dim3 grid,
              Dim3 block, std::uint32_t shared_bytes = 0) {
  const DeviceBuffer input = test.upload(in);
  const DeviceBuffer output = test.allocate(4 * n_out);
  test.succeed(
      test.stream.launch(test.kernel(name), grid, block, shared_bytes,
                         ReverseArgs{pointer<std::int32_t>(input), pointer<std::int32_t>(output)}));
  return test.download<std::int32_t>(output);
}

Ints reversed_in_blocks(Ints values, std::size_t block) {
  for (std::size_t i = 0; i < values.size(); i += block) {
    std::reverse(values.begin() + static_cast<std::ptrdiff_t>(i),
                 values.begin() + static_cast<std::ptrdiff_t>(i + block));
  }
  return values;
}

}  // namespace

TEST_CASE("a block's threads see each other's shared memory after a barrier") {
  in_both_orders([](TestDevice& test) {
    for (const std::uint32_t block : {1U, 31U, 32U, 33U, 250U, 256U}) {
      CAPTURE(block);
      const Ints in = counting(3 * block);
      CHECK(run_ints(test, "quern_test_reverse", in, in.size(), {3}, {block}) ==
            reversed_in_blocks(in, block));
    }
  });
}

TEST_CASE("a block may have more shared memory than 48 KiB") {
  in_both_orders([](TestDevice& test) {
    const Ints in = counting(2 * 16 * 1024);
    CHECK(run_ints(test, "quern_test_reverse_dynamic", in, in.size(), {2}, {1024}, 64 * 1024) ==
          reversed_in_blocks(in, 16 * 1024));
  });
}

TEST_CASE("threads that have ended are not waited for") {
  in_both_orders([](TestDevice& test) {
    const Ints in = counting(128);
    const DeviceBuffer input = test.upload(in);
    const DeviceBuffer output = test.upload(Ints(128, 77));
    test.succeed(test.stream.launch(
        test.kernel("quern_test_leave_early"), {1}, {128}, 0,
        ReverseArgs{pointer<std::int32_t>(input), pointer<std::int32_t>(output)}));
    const Ints out = test.download<std::int32_t>(output);
    for (std::size_t i = 0; i < 128; ++i) {
      CAPTURE(i);
      const std::size_t other = (i / 32 + 2) % 4 * 32;
      const auto first = in.begin() + static_cast<std::ptrdiff_t>(other);
      CHECK(out[i] == (i / 32 % 2 == 1 ? 77 : std::accumulate(first, first + 32, 0)));
    }
  });
}

TEST_CASE("the lanes of a warp exchange numbers as CUDA's manual says") {
  in_both_orders([](TestDevice& test) {
    Ints in = counting(32);
    std::swap(in[3], in[20]);
    const Ints out = run_ints(test, "quern_test_warp", in, 32 * kWarpResults, {1}, {32});
    std::uint32_t positive = 0;
    bool has_seven = false;
    for (std::size_t i = 0; i < 32; ++i) positive |= in[i] > 0 ? 1U << i : 0U;
    for (std::size_t i = 16; i < 32; ++i) has_seven = has_seven || in[i] == 7;
    for (std::size_t i = 0; i < 32; ++i) {
      CAPTURE(i);
      CHECK(out[i] == in[5]);
      CHECK(out[32 + i] == in[i / 8 * 8 + (i + 3) % 8]);
      CHECK(out[64 + i] == in[i ^ 9]);
      CHECK(out[96 + i] == in[i % 16 + 3 < 16 ? i + 3 : i]);
      CHECK(out[128 + i] == in[i >= 2 ? i - 2 : i]);
      CHECK(static_cast<std::uint32_t>(out[160 + i]) == positive);
      CHECK(out[192 + i] == (i < 16 ? in[i ^ 1] : has_seven ? 2 : 1));
      CHECK(out[224 + i] == in[std::min<std::size_t>(i + 1, 31)]);
    }
  });
}

TEST_CASE("products of int8 tiles by the matrix units are the sums of a plain loop") {
  in_both_orders([](TestDevice& test) {
    std::mt19937 random(7);
    for (const std::int32_t k : {16, 32}) {
      for (int turn = 0; turn < 4; ++turn) {
        CAPTURE(k);
        CAPTURE(turn);
        const auto depth = static_cast<std::size_t>(k);
        std::vector<std::int8_t> a(16 * depth, -128), b(depth * 8, -128);
        if (turn > 0) {
          for (std::int8_t& value : a) value = static_cast<std::int8_t>(random());
          for (std::int8_t& value : b) value = static_cast<std::int8_t>(random());
        }
        const DeviceBuffer left = test.upload(a);
        const DeviceBuffer right = test.upload(b);
        const DeviceBuffer out = test.allocate(4 * 16 * 8);
        test.succeed(
            test.stream.launch(test.kernel("quern_test_product"), {1}, {32}, 0,
                               ProductArgs{pointer<std::int8_t>(left), pointer<std::int8_t>(right),
                                           pointer<std::int32_t>(out), k}));
        Ints expected(16 * 8, kProductStart);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          for (std::size_t j = 0; j < depth; ++j) {
            expected[i] += a[i / 8 * depth + j] * b[j * 8 + i % 8] * (k / 16);
          }
        }
        CHECK(test.download<std::int32_t>(out) == expected);
      }
    }
  });
}

TEST_CASE("arithmetic of one rounding gives the bits of IEEE 754") {
  in_both_orders([](TestDevice& test) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    std::vector<float> in = {1.5F,   2.5F,  -0.0F, kInfinity, 0.0F,  1.0F,   1e-40F, 3.0F,
                             1e-42F, 3e38F, 2.0F,  -3e38F,    -0.0F, 1.0F,   0.0F,   2.5F,
                             1.0F,   1.0F,  0.1F,  10.0F,     -1.0F, 1e-30F, 1e-9F,  1e-39F};
    std::mt19937 random(11);
    std::uniform_int_distribution<std::uint32_t> exponent(90, 160);
    while (in.size() < 3 * 1000) {
      const std::uint32_t bits = (random() & 0x807fffffU) | exponent(random) << 23;
      in.push_back(std::bit_cast<float>(bits));
    }
    const auto n = static_cast<std::uint32_t>(in.size() / 3);
    const DeviceBuffer input = test.upload(in);
    const DeviceBuffer output = test.allocate(4ULL * kArithmeticResults * n);
    test.succeed(test.stream.launch(
        test.kernel("quern_test_arithmetic"), {(n + 63) / 64}, {64}, 0,
        ArithmeticArgs{pointer<float>(input), pointer<std::uint32_t>(output), n}));
    const auto out = test.download<std::uint32_t>(output);
    for (std::size_t i = 0; i < n; ++i) {
      const float a = in[3 * i], b = in[3 * i + 1], c = in[3 * i + 2];
      CAPTURE(a);
      CAPTURE(b);
      CAPTURE(c);
      const std::uint32_t* got = out.data() + kArithmeticResults * i;
      const float product = a * b;
      const auto same = [](std::uint32_t bits, float expected) {
        const float value = std::bit_cast<float>(bits);
        return std::isnan(expected) ? std::isnan(value)
                                    : bits == std::bit_cast<std::uint32_t>(expected);
      };
      CHECK(same(got[0], std::fma(a, b, c)));
      CHECK(same(got[1], product + c));
      CHECK(same(got[2], a / b));
      CHECK(same(got[3], std::sqrt(std::fabs(a))));
      const double whole =
          std::min(std::max(std::nearbyint(static_cast<double>(a)), -2147483648.0), 2147483647.0);
      CHECK(static_cast<std::int32_t>(got[4]) == static_cast<std::int32_t>(whole));
      const auto x = std::bit_cast<std::uint32_t>(a);
      const auto y = std::bit_cast<std::uint32_t>(b);
      std::int32_t dot = -7;
      for (int byte = 0; byte < 32; byte += 8) {
        dot += static_cast<std::int8_t>(x >> byte) * static_cast<std::int8_t>(y >> byte);
      }
      CHECK(static_cast<std::int32_t>(got[5]) == dot);
      // Bytes 4, 2, the sign of 3 (0xb), and 6 of the eight.
      const std::uint32_t permuted = (y & 0xffU) | (x >> 16 & 0xffU) << 8 |
                                     (x >> 31 != 0 ? 0xffU : 0U) << 16 | (y >> 16 & 0xffU) << 24;
      CHECK(got[6] == permuted);
      const double precise =
          std::fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c));
      CHECK(same(got[7], static_cast<float>(precise)));
    }
  });
}

TEST_CASE("atomic operations count every thread of every block") {
  in_both_orders([](TestDevice& test) {
    const DeviceBuffer sum = test.upload(Ints{0});
    const DeviceBuffer most = test.upload(Ints{-1});
    test.succeed(
        test.stream.launch(test.kernel("quern_test_count"), {7, 2}, {8, 4, 3}, 0,
                           CountArgs{pointer<std::int32_t>(sum), pointer<std::int32_t>(most)}));
    CHECK(test.download<std::int32_t>(sum)[0] == 7 * 2 * 8 * 4 * 3);
    CHECK(test.download<std::int32_t>(most)[0] == 6007);
  });
}

TEST_CASE("device memory that was not written holds no number where the device is emulated") {
  if (!Emulator::is_present()) return;
  const auto test = TestDevice::open();
  const DeviceBuffer buffer = test->allocate(400);
  for (const float value : test->download<float>(buffer)) CHECK(std::isnan(value));
}

}  // namespace quern::backends::cuda
