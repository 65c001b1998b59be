/// \file
/// XXH64, the checksum of `.quern` files.
/// Source: "xxHash fast digest algorithm", specification revision 0.1.1, XXH64 part.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace quern::formats {

/// Streaming XXH64 with seed 0: any split into `add` calls gives the same digest. Value type.
class Xxh64 {
 public:
  void add(std::span<const std::byte> bytes) noexcept;
  std::uint64_t digest() const noexcept;

 private:
  static constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
  static constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;

  std::array<std::uint64_t, 4> lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
  std::array<std::byte, 32> pending_{};
  std::size_t pending_bytes_ = 0;
  std::uint64_t total_ = 0;
};

/// \return XXH64 of `bytes`.
std::uint64_t xxh64(std::span<const std::byte> bytes) noexcept;

}  // namespace quern::formats
