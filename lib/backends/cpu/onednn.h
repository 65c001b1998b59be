/// \file
/// The functions of oneDNN that fast mode needs. The library is loaded when it is first asked for:
/// linked, it would cost every process a third of a short run's memory.
#pragma once

#include <oneapi/dnnl/dnnl.h>

#include <memory>
#include <type_traits>

#include "quern/result.h"

namespace quern::backends::cpu {

/// oneDNN 2's C functions under their own names, without the prefix `dnnl_`.
#define QUERN_ONEDNN_FUNCTIONS(X)       \
  X(engine_create)                      \
  X(get_effective_cpu_isa)              \
  X(matmul_desc_init)                   \
  X(memory_create)                      \
  X(memory_desc_get_size)               \
  X(memory_desc_init_by_tag)            \
  X(memory_destroy)                     \
  X(primitive_attr_create)              \
  X(primitive_attr_destroy)             \
  X(primitive_attr_set_scratchpad_mode) \
  X(primitive_create)                   \
  X(primitive_desc_create)              \
  X(primitive_desc_destroy)             \
  X(primitive_desc_query_md)            \
  X(primitive_destroy)                  \
  X(primitive_execute)                  \
  X(reorder_primitive_desc_create)      \
  X(stream_create)                      \
  X(stream_destroy)                     \
  X(stream_wait)

/// The loaded library and its engine for the processor. Thread rule: any thread.
struct OneDnn {
#define QUERN_ONEDNN_MEMBER(name) decltype(&dnnl_##name) name = nullptr;
  QUERN_ONEDNN_FUNCTIONS(QUERN_ONEDNN_MEMBER)
#undef QUERN_ONEDNN_MEMBER
  dnnl_engine_t engine = nullptr;

  /// The same object in every call. kMissing, kUnsupported for another version of the library.
  static Result<const OneDnn*> instance();
  /// kOutOfMemory; kUnsupported for any other failure.
  static Status status_of(dnnl_status_t status);

 private:
  static Result<OneDnn> load();
};

/// Owns a handle of the library's. \pre instance() succeeded before one is made.
template <class Handle, auto Destroy>
struct OneDnnDeleter {
  using pointer = Handle;
  void operator()(Handle handle) const noexcept { ((**OneDnn::instance()).*Destroy)(handle); }
};
template <class Handle, auto Destroy>
using OneDnnHandle = std::unique_ptr<std::remove_pointer_t<Handle>, OneDnnDeleter<Handle, Destroy>>;

using DnnPrimitive = OneDnnHandle<dnnl_primitive_t, &OneDnn::primitive_destroy>;
using DnnPrimitiveDesc = OneDnnHandle<dnnl_primitive_desc_t, &OneDnn::primitive_desc_destroy>;
using DnnAttributes = OneDnnHandle<dnnl_primitive_attr_t, &OneDnn::primitive_attr_destroy>;
using DnnMemory = OneDnnHandle<dnnl_memory_t, &OneDnn::memory_destroy>;
using DnnStream = OneDnnHandle<dnnl_stream_t, &OneDnn::stream_destroy>;

/// make_handle<DnnStream>(onednn->stream_create, arguments behind the handle …).
template <class Owner, class Create, class... Arguments>
Result<Owner> make_handle(Create create, Arguments... arguments) {
  typename Owner::pointer handle = nullptr;
  QUERN_CHECK(OneDnn::status_of(create(&handle, arguments...)));
  return Owner(handle);
}

}  // namespace quern::backends::cpu
