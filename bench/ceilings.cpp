#include "ceilings.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace quern::bench {
namespace {

constexpr int kChains = 12;  ///< Independent sums: more than latency times throughput anywhere.
constexpr std::int64_t kTurns = 200'000;
std::atomic<int> sink;  ///< Keeps the loops' results wanted.

#if defined(__x86_64__)
/// Keeps a sum in one register of an unrolled loop: what is moved or kept in memory would be timed.
#define QUERN_KEEP(sum) __asm__("" : "+v"(sum))

__attribute__((target("avx512f,avx512vnni"))) void dot_avx512vnni() {
  __m512i sum[kChains], x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(sink != 0 ? 1 : 2);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_si512();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], x, w);
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm512_add_epi32(x, sum[i]);
  sink = static_cast<int>(x[0]);
}

__attribute__((target("avx512f,avx512bw"))) void dot_avx512() {
  __m512i sum[kChains], x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(sink != 0 ? 1 : 2);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_si512();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
    // The sum is an operand of the product, so that no product can leave the loop.
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_add_epi16(x, _mm512_maddubs_epi16(sum[i], w));
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm512_add_epi16(x, sum[i]);
  sink = static_cast<int>(x[0]);
}

__attribute__((target("avx2"))) void dot_avx2() {
  __m256i sum[kChains], x = _mm256_set1_epi8(1), w = _mm256_set1_epi8(sink != 0 ? 1 : 2);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_setzero_si256();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm256_add_epi16(x, _mm256_maddubs_epi16(sum[i], w));
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm256_add_epi16(x, sum[i]);
  sink = static_cast<int>(x[0]);
}

__attribute__((target("avx2,avxvnni"))) void dot_avxvnni() {
  __m256i sum[kChains], x = _mm256_set1_epi8(1), w = _mm256_set1_epi8(sink != 0 ? 1 : 2);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_setzero_si256();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm256_dpbusd_avx_epi32(sum[i], x, w);
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm256_add_epi32(x, sum[i]);
  sink = static_cast<int>(x[0]);
}

__attribute__((target("avx512f"))) void fma_avx512() {
  __m512 sum[kChains], x = _mm512_set1_ps(0.5F), w = _mm512_set1_ps(sink != 0 ? 0.25F : 0.5F);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_ps();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_fmadd_ps(sum[i], w, x);
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm512_add_ps(x, sum[i]);
  sink = static_cast<int>(x[0]);
}

__attribute__((target("avx2,fma"))) void fma_avx2() {
  __m256 sum[kChains], x = _mm256_set1_ps(0.5F), w = _mm256_set1_ps(sink != 0 ? 0.25F : 0.5F);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_setzero_ps();
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm256_fmadd_ps(sum[i], w, x);
      QUERN_KEEP(sum[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) x = _mm256_add_ps(x, sum[i]);
  sink = static_cast<int>(x[0]);
}
#elif defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) void dot_neon() {
  int32x4_t sum[kChains];
  int8x16_t x = vdupq_n_s8(1), w = vdupq_n_s8(sink != 0 ? 1 : 2);
  for (int32x4_t& one : sum) one = vdupq_n_s32(0);
  for (std::int64_t turn = 0; turn < kTurns; ++turn)
    for (int32x4_t& one : sum) one = vdotq_s32(one, x, w);
  int total = 0;
  for (const int32x4_t& one : sum) total += vaddvq_s32(one);
  sink = total;
}

void fma_neon() {
  float32x4_t sum[kChains], x = vdupq_n_f32(0.5F), w = vdupq_n_f32(sink != 0 ? 0.25F : 0.5F);
  for (float32x4_t& one : sum) one = vdupq_n_f32(0.0F);
  for (std::int64_t turn = 0; turn < kTurns; ++turn) {
    for (float32x4_t& one : sum) one = vfmaq_f32(x, one, w);
    float total = 0;
    for (const float32x4_t& one : sum) total += vaddvq_f32(one);
    sink = static_cast<int>(total);
  }
#endif

/// The best of many short runs of a loop, in 10⁹ multiply-adds a second of processor time.
double best_gmacs(void (*loop)(), int macs_per_instruction) {
  double best = 0;
  for (int i = 0; i < 60; ++i) {
    const std::clock_t start = std::clock();
    loop();
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    const double macs = static_cast<double>(kTurns * kChains) * macs_per_instruction;
    if (seconds > 0) best = std::max(best, macs / seconds * 1e-9);
  }
  return best;
}

/// Sums up words, wide enough for any baseline to be bound by memory.
std::uint64_t sum_words(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= count; i += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums) all += sum;
  return all;
}

}  // namespace

double int8_gmacs(std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512vnni" || isa == "avx512amx") return best_gmacs(dot_avx512vnni, 64);
  if (isa == "avx512") return best_gmacs(dot_avx512, 64);
  if (isa == "avxvnni") return best_gmacs(dot_avxvnni, 32);
  if (isa == "avx2") return best_gmacs(dot_avx2, 32);
#elif defined(__aarch64__)
  if (isa == "neon") return best_gmacs(dot_neon, 16);
#endif
  return 0;
}

double float_gmacs(std::string_view isa) {
#if defined(__x86_64__)
  if (isa.rfind("avx512", 0) == 0) return best_gmacs(fma_avx512, 16);
  if (isa == "avx2" || isa == "avxvnni") return best_gmacs(fma_avx2, 8);
#elif defined(__aarch64__)
  if (isa == "neon") return best_gmacs(fma_neon, 4);
#endif
  return 0;
}

double read_gb_per_s(int threads, bool huge_pages) {
  constexpr std::size_t kBytes = std::size_t{512} << 20U;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  madvise(memory, kBytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  auto* words = static_cast<std::uint64_t*>(memory);
  const std::size_t count = kBytes / sizeof(std::uint64_t);
  for (std::size_t i = 0; i < count; i += 512) words[i] = i;  // Pages are had by writing to them.
  double best = 0;
  for (int pass = 0; pass < 8; ++pass) {
    std::vector<std::thread> team;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < static_cast<std::size_t>(threads); ++i)
      team.emplace_back([=] {
        const std::size_t share = count / static_cast<std::size_t>(threads);
        sink = static_cast<int>(sum_words(words + i * share, share));
      });
    for (std::thread& one : team) one.join();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / spent.count() * 1e-9);
  }
  munmap(memory, kBytes);
  return best;
}

}  // namespace quern::bench
