/// \file
/// What the kernel tests share: deterministic numbers, memory that ends at a forbidden page,
/// comparison of bits, and the tables of all instruction sets that this machine has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/dispatch.h"

namespace quern::kernels::test {

/// The same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint32_t bits();
  int below(int n) { return static_cast<int>(bits() % static_cast<std::uint32_t>(n)); }
  float uniform();  ///< [−1, 1)
  float number(
      bool wild);  ///< About normal; `wild`: also NaN, ∞, denormals, huge, zeros of both signs.

 private:
  std::uint64_t state_;
};

/// Bytes whose end is the end of a page; the next page cannot be read. Begins 64-byte aligned where
/// the size is a multiple of 64.
class Guarded {
 public:
  explicit Guarded(std::int64_t bytes);
  Guarded(const Guarded&) = delete;
  ~Guarded();
  std::byte* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  std::int64_t size() const { return size_; }

 private:
  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// \return the index of the first element whose bits differ (NaN equals NaN), or −1.
std::int64_t first_difference(const float* a, const float* b, std::int64_t n);

/// The oracle first.
const std::vector<const KernelTable*>& tables();
const KernelTable& oracle();

/// A weight matrix of random codes with sensible (or, `wild`, arbitrary) scales, at the end of a
/// page.
struct Weights {
  const EncodingInfo* info;
  std::int64_t n, k, panels;
  Guarded bytes;
  Weights(Encoding encoding, std::int64_t rows, std::int64_t cols, Random& random, bool wild);
};
/// Every encoding that a linear layer may use.
std::vector<Encoding> weight_encodings();

/// FNV-1a over words, every NaN counted alike.
std::uint64_t hash_floats(const float* x, std::int64_t n, std::uint64_t seed = 0xcbf29ce484222325u);

}  // namespace quern::kernels::test
