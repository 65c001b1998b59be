#include "base/page_buffer.h"

#include <sys/mman.h>

#include <limits>

namespace quern::base {

PageBuffer::~PageBuffer() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<PageBuffer> PageBuffer::allocate(std::uint64_t bytes) {
  PageBuffer buffer;
  if (bytes == 0) return buffer;
  void* address = MAP_FAILED;
  if (bytes <= static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (address == MAP_FAILED) {
    return Error(ErrorCode::kOutOfMemory, "memory could not be had")
        .want(std::to_string(bytes) + " bytes");
  }
  buffer.data_ = static_cast<std::byte*>(address);
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace quern::base
