/// \file
/// Zeroed memory on a cache line, as panels want it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace quern::convert {

/// Owns `size` zeroed bytes that begin at a multiple of 64; empty by default. Move-only.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::uint64_t size) : owner_(new std::byte[size + kAlign]()) {
    const auto address = reinterpret_cast<std::uintptr_t>(owner_.get());
    data_ = owner_.get() + (kAlign - address % kAlign) % kAlign;
  }
  std::byte* data() const noexcept { return data_; }

 private:
  static constexpr std::uint64_t kAlign = 64;
  std::unique_ptr<std::byte[]> owner_;
  std::byte* data_ = nullptr;
};

}  // namespace quern::convert
