/// \file
/// How keys and values of attention are kept between steps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quern {

enum class KvType : std::uint8_t {
  /// What the converter measured to fit the file's weights (kQ8 where it is harmless, else kF16);
  /// where it measured nothing, float32 weights keep kF32 and quantized ones kF16.
  kAuto = 0,
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kQ8 = 4,  ///< int8 with one float32 scale per position and head.
  kQ4 = 5,  ///< 4-bit codes −8…7 with one float32 scale per position and head.
};

inline constexpr std::array kKvTypes{KvType::kAuto, KvType::kF32, KvType::kF16,
                                     KvType::kBF16, KvType::kQ8,  KvType::kQ4};

/// The word of command lines and reports: "auto", "f32", "f16", "bf16", "q8", "q4".
constexpr const char* kv_name(KvType kv) noexcept {
  constexpr std::array names{"auto", "f32", "f16", "bf16", "q8", "q4"};
  return static_cast<std::size_t>(kv) < names.size() ? names[static_cast<std::size_t>(kv)] : "";
}

}  // namespace quern
