#include "backends/backend.h"
#include "backends/cpu/cpu_backend.h"
#if defined(QUERN_WITH_CUDA)
#include "backends/cuda/cuda_backend.h"
#endif

namespace quern::backends {

Result<const Backend*> find_backend(std::string_view name) {
  static const cpu::CpuBackend kCpu;
  if (name == kCpu.name()) return static_cast<const Backend*>(&kCpu);
#if defined(QUERN_WITH_CUDA)
  static const cuda::CudaBackend kCuda;
  if (name == kCuda.name()) return static_cast<const Backend*>(&kCuda);
  constexpr const char* kNames = "cpu, cuda";
#else
  constexpr const char* kNames = "cpu";
#endif
  return Error(ErrorCode::kUnsupported, "this build has no such backend")
      .of("device")
      .want(kNames)
      .got(std::string(name));
}

}  // namespace quern::backends
