#include "base/page_buffer.h"

#include <sys/mman.h>

#include <limits>

namespace quern::base {
namespace {

constexpr std::uint64_t kLargePage = std::uint64_t{1} << 21;

}  // namespace

PageBuffer::~PageBuffer() {
  if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
}

Result<PageBuffer> PageBuffer::allocate(std::uint64_t bytes, Pages pages) {
  PageBuffer buffer;
  if (bytes == 0) return buffer;
  const bool large = pages == Pages::kLarge && bytes >= kLargePage;
  void* address = MAP_FAILED;
  if (bytes <=
      static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max()) - kLargePage) {
    buffer.mapped_bytes_ = large ? bytes + kLargePage : bytes;
    address = ::mmap(nullptr, buffer.mapped_bytes_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (address == MAP_FAILED) {
    return Error(ErrorCode::kOutOfMemory, "memory could not be had")
        .want(std::to_string(bytes) + " bytes");
  }
  buffer.mapped_ = buffer.data_ = static_cast<std::byte*>(address);
  buffer.bytes_ = bytes;
  if (large) {
    buffer.data_ += -reinterpret_cast<std::uintptr_t>(address) % kLargePage;
#ifdef MADV_HUGEPAGE
    ::madvise(buffer.data_, bytes, MADV_HUGEPAGE);  // Refused: the pages are small ones.
#endif
  }
  return buffer;
}

}  // namespace quern::base
