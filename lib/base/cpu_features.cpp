#include "base/cpu_features.h"

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace quern::base {
namespace {

#if defined(__x86_64__) || defined(_M_X64)

struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Registers r;
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<std::uint32_t>(out[0]), static_cast<std::uint32_t>(out[1]),
       static_cast<std::uint32_t>(out[2]), static_cast<std::uint32_t>(out[3])};
#else
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
#endif
  return r;
}

/// XCR0: which register states the operating system saves.
std::uint64_t saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

bool bit(std::uint32_t value, int index) { return ((value >> index) & 1u) != 0; }

/// Intel SDM, volume 2, CPUID leaves 1 and 7; volume 1, section 13.3 (XCR0).
CpuFeatures probe() {
  CpuFeatures f;
  const Registers one = cpuid(1, 0);
  if (!bit(one.ecx, 27)) return f;  // OSXSAVE
  const std::uint64_t state = saved_state();
  const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
  const Registers seven = cpuid(7, 0);
  const Registers seven1 = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  f.fma = ymm && bit(one.ecx, 12);
  f.f16c = ymm && bit(one.ecx, 29);
  f.avx2 = ymm && bit(seven.ebx, 5);
  f.avx_vnni = ymm && bit(seven1.eax, 4);
  f.avx512f = zmm && bit(seven.ebx, 16);
  f.avx512dq = zmm && bit(seven.ebx, 17);
  f.avx512bw = zmm && bit(seven.ebx, 30);
  f.avx512vl = zmm && bit(seven.ebx, 31);
  f.avx512vnni = zmm && bit(seven.ecx, 11);
  f.avx512bf16 = zmm && bit(seven1.eax, 5);
  const bool tiles = (state & 0x60000) == 0x60000;
  f.amx_int8 = tiles && bit(seven.edx, 24) && bit(seven.edx, 25);
  return f;
}

#elif defined(__aarch64__)

CpuFeatures probe() {
  CpuFeatures f;
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP, HWCAP2.
  f.neon_dotprod = (getauxval(AT_HWCAP) & kAsimdDp) != 0;
  f.neon_i8mm = (getauxval(AT_HWCAP2) & kI8mm) != 0;
#elif defined(__APPLE__)
  f.neon_dotprod = true;  // Every Apple processor of this architecture has it.
#endif
  return f;
}

#else

CpuFeatures probe() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = probe();
  return features;
}

bool allow_amx() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023,
                 kTileData = 18;  // arch_prctl(2), ARCH_REQ_XCOMP_PERM.
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace quern::base
