/// \file
/// Memory in whole pages: zeroed, and only taken from the machine where it is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "quern/result.h"

namespace quern::base {

/// Owns an anonymous mapping. Move-only; aligned to a page. Thread rule: as plain memory.
class PageBuffer {
 public:
  PageBuffer() = default;
  PageBuffer(PageBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PageBuffer& operator=(PageBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PageBuffer();

  /// kOutOfMemory where the address space or the limit of the process does not allow `bytes`.
  static Result<PageBuffer> allocate(std::uint64_t bytes);

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace quern::base
