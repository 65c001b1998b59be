#include "base/shared_library.h"

#include <dlfcn.h>

namespace quern::base {

Result<SharedLibrary> SharedLibrary::open(const char* file, const char* what, const char* field) {
  void* const handle = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return SharedLibrary(handle, file, what);
  const char* why = ::dlerror();
  return Error(ErrorCode::kMissing, std::string(what) + " is not installed")
      .of(field)
      .want(file)
      .got(why != nullptr ? why : "no such library");
}

void* SharedLibrary::address_of(const char* symbol) const { return ::dlsym(handle_, symbol); }

Status SharedLibrary::lacks(const char* symbol) const {
  return Error(ErrorCode::kUnsupported, what_ + " lacks a function")
      .of(symbol)
      .want("a newer " + file_)
      .got("a library without it");
}

}  // namespace quern::base
