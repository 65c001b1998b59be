#include "backends/cpu/onednn.h"

#include <string>

#include "base/shared_library.h"

namespace quern::backends::cpu {

Result<OneDnn> OneDnn::load() {
  // Another major version has other types behind the same names.
  const std::string file = "libdnnl.so." + std::to_string(DNNL_VERSION_MAJOR);
  QUERN_TRY(library, base::SharedLibrary::open(file.c_str(), "oneDNN", "fast"));
  OneDnn found;
#define QUERN_ONEDNN_FIND(name) QUERN_CHECK(library.find("dnnl_" #name, found.name));
  QUERN_ONEDNN_FUNCTIONS(QUERN_ONEDNN_FIND)
#undef QUERN_ONEDNN_FIND
  QUERN_CHECK(status_of(found.engine_create(&found.engine, dnnl_cpu, 0)));
  return found;
}

Result<const OneDnn*> OneDnn::instance() {
  static const Result<OneDnn> kLoaded = load();
  if (!kLoaded.ok()) return kLoaded.error();
  return &*kLoaded;
}

Status OneDnn::status_of(dnnl_status_t status) {
  if (status == dnnl_success) return {};
  return Error(status == dnnl_out_of_memory ? ErrorCode::kOutOfMemory : ErrorCode::kUnsupported,
               "oneDNN cannot run a linear layer")
      .of("fast")
      .got("status " + std::to_string(static_cast<int>(status)));
}

}  // namespace quern::backends::cpu
