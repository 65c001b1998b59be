/// \file
/// Memory in whole pages: zeroed, and only taken from the machine where it is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "quern/result.h"

namespace quern::base {

/// Which pages a buffer asks for.
enum class Pages {
  kSmall,
  /// Of 2 MB, where the system grants them and the buffer holds one: for what is read again and
  /// again. Each is taken as a whole when it is first touched.
  kLarge,
};

/// Owns an anonymous mapping. Move-only; aligned to a page. Thread rule: as plain memory.
class PageBuffer {
 public:
  PageBuffer() = default;
  PageBuffer(PageBuffer&& other) noexcept { *this = std::move(other); }
  PageBuffer& operator=(PageBuffer&& other) noexcept {
    std::swap(mapped_, other.mapped_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PageBuffer();

  /// kOutOfMemory where the address space or the limit of the process does not allow `bytes`.
  static Result<PageBuffer> allocate(std::uint64_t bytes, Pages pages = Pages::kSmall);

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size() const noexcept { return bytes_; }

 private:
  std::byte* mapped_ = nullptr;
  std::uint64_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace quern::base
