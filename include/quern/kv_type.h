/// \file
/// How keys and values of attention are kept between steps.
#pragma once

#include <cstdint>

namespace quern {

enum class KvType : std::uint8_t {
  kAuto = 0,  ///< Fits the weights: float32 weights keep kF32, quantized ones kF16.
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kQ8 = 4,  ///< int8 with one float32 scale per position and head.
  kQ4 = 5,  ///< 4-bit codes −8…7 with one float32 scale per position and head.
};

}  // namespace quern
