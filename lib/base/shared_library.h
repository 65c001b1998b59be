/// \file
/// Libraries that are looked for when they are first needed.
#pragma once

#include <string>

#include "quern/result.h"

namespace quern::base {

/// A library of the system, loaded at run time, so that a process which does not need it neither
/// pays for it nor fails for want of it. It stays loaded until the process ends. Thread rule:
/// immutable after `open`.
class SharedLibrary {
 public:
  /// \param file as the dynamic linker knows it, e.g. "libcuda.so.1"; \param what names it for
  /// people; \param field of the error. kMissing with what the dynamic linker said.
  static Result<SharedLibrary> open(const char* file, const char* what, const char* field);

  /// \return nullptr where the library has no such function.
  template <class Function>
  Function* find(const char* symbol) const {
    // POSIX promises that a function's address survives the way through void*.
    return reinterpret_cast<Function*>(address_of(symbol));
  }

  /// The same; kUnsupported where the library lacks it.
  template <class Function>
  Status find(const char* symbol, Function*& function) const {
    function = find<Function>(symbol);
    return function != nullptr ? Status() : lacks(symbol);
  }

 private:
  SharedLibrary(void* handle, const char* file, const char* what)
      : handle_(handle), file_(file), what_(what) {}
  void* address_of(const char* symbol) const;
  Status lacks(const char* symbol) const;

  void* handle_;
  std::string file_, what_;
};

}  // namespace quern::base
