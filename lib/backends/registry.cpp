#include "backends/backend.h"
#include "backends/cpu/cpu_backend.h"

namespace quern::backends {

Result<const Backend*> find_backend(std::string_view name) {
  static const cpu::CpuBackend kCpu;
  if (name == kCpu.name()) return static_cast<const Backend*>(&kCpu);
  return Error(ErrorCode::kUnsupported, "this build has no such backend")
      .of("device")
      .want("cpu")
      .got(std::string(name));
}

}  // namespace quern::backends
