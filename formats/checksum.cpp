#include "formats/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/byte_reader.h"

namespace quern::formats {
namespace {

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5u;

/// The specification's `round`.
constexpr std::uint64_t mix_lane(std::uint64_t acc, std::uint64_t lane) noexcept {
  return std::rotl(acc + lane * kPrime2, 31) * kPrime1;
}

constexpr std::uint64_t merge_lane(std::uint64_t acc, std::uint64_t lane) noexcept {
  return (acc ^ mix_lane(0, lane)) * kPrime1 + kPrime4;
}

void mix_stripe(std::array<std::uint64_t, 4>& lanes, const std::byte* stripe) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    lanes[i] = mix_lane(lanes[i], load_le<std::uint64_t>(stripe + 8 * i));
  }
}

}  // namespace

void Xxh64::add(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  total_ += bytes.size();
  if (pending_bytes_ != 0) {
    const std::size_t part = std::min(bytes.size(), pending_.size() - pending_bytes_);
    std::memcpy(pending_.data() + pending_bytes_, bytes.data(), part);
    pending_bytes_ += part;
    bytes = bytes.subspan(part);
    if (pending_bytes_ < pending_.size()) return;
    mix_stripe(lanes_, pending_.data());
    pending_bytes_ = 0;
  }
  for (; bytes.size() >= 32; bytes = bytes.subspan(32)) mix_stripe(lanes_, bytes.data());
  if (!bytes.empty()) std::memcpy(pending_.data(), bytes.data(), bytes.size());
  pending_bytes_ = bytes.size();
}

std::uint64_t Xxh64::digest() const noexcept {
  std::uint64_t acc = kPrime5;
  if (total_ >= 32) {
    acc = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
          std::rotl(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) acc = merge_lane(acc, lane);
  }
  acc += total_;
  std::size_t at = 0;
  for (; pending_bytes_ - at >= 8; at += 8) {
    acc ^= mix_lane(0, load_le<std::uint64_t>(pending_.data() + at));
    acc = std::rotl(acc, 27) * kPrime1 + kPrime4;
  }
  if (pending_bytes_ - at >= 4) {
    acc ^= load_le<std::uint32_t>(pending_.data() + at) * kPrime1;
    acc = std::rotl(acc, 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < pending_bytes_; ++at) {
    acc ^= static_cast<std::uint64_t>(pending_[at]) * kPrime5;
    acc = std::rotl(acc, 11) * kPrime1;
  }
  acc = (acc ^ (acc >> 33)) * kPrime2;
  acc = (acc ^ (acc >> 29)) * kPrime3;
  return acc ^ (acc >> 32);
}

std::uint64_t xxh64(std::span<const std::byte> bytes) noexcept {
  Xxh64 hash;
  hash.add(bytes);
  return hash.digest();
}

}  // namespace quern::formats
