/// \file
/// Large arrays of floats in pages of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "formats/mapped_file.h"

namespace quern::convert {

/// Floats whose memory goes back to the system as soon as they die: a heap that hands out and takes
/// back megabytes in turns keeps much of them. Zeros at first. Move-only. Thread rule: as
/// std::vector.
class MappedFloats {
 public:
  /// Grows (with zeros) or shrinks. Throws std::bad_alloc where there is no memory.
  void resize(std::size_t count) {
    if (!image_.resize(count * sizeof(float)).ok()) throw std::bad_alloc();
  }
  std::size_t size() const noexcept { return image_.bytes().size() / sizeof(float); }
  float* data() noexcept { return reinterpret_cast<float*>(image_.bytes().data()); }
  const float* data() const noexcept {
    return reinterpret_cast<const float*>(image_.bytes().data());
  }
  float& operator[](std::size_t i) noexcept { return data()[i]; }
  const float& operator[](std::size_t i) const noexcept { return data()[i]; }
  const float* begin() const noexcept { return data(); }
  const float* end() const noexcept { return data() + size(); }

 private:
  formats::MemoryImage image_;
};

}  // namespace quern::convert
