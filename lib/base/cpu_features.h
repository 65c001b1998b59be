/// \file
/// What the processor (and the operating system, which must save the registers) can execute.
#pragma once

namespace quern::base {

/// One flag per instruction-set extension that some kernel needs; all false on other processors.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false;
  bool avx512vnni = false, avx512bf16 = false, avx_vnni = false;
  bool amx_int8 = false;  ///< The processor has it and XCR0 saves its tiles; see allow_amx.
  bool neon_dotprod = false, neon_i8mm = false;
};

/// \return the features of the machine; asked once. Thread rule: any thread.
const CpuFeatures& cpu_features() noexcept;

/// Asks the operating system to let this process use AMX tiles (Linux hands their state out on
/// request only). \return whether it may. Thread rule: any thread.
bool allow_amx() noexcept;

}  // namespace quern::base
