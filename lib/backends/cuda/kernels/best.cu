// The best values of a row: every block keeps the best of a run, and runs of the next level are
// made of what blocks kept. Source: A. Shanbhag, H. Pirk, S. Madden, "Efficient Top-K Query
// Processing on GPUs", SIGMOD 2018, section 4.3 (bitonic top-k).
#include "backends/cuda/kernels/best_args.h"
#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {
namespace {

using Key = std::uint64_t;

constexpr unsigned kInfinityBits = 0x7f800000u;

QUERN_DEVICE Key key_of(float value, unsigned place) {
  const float infinity = __uint_as_float(kInfinityBits);
  // A NaN fails the comparison. Adding 0 makes 0 of -0.
  const unsigned bits = __float_as_uint(value < infinity ? __fadd_rn(value, 0.0f) : infinity);
  const unsigned ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(ordered) << 32 | ~place;
}

/// Lists of `width` keys in shared memory, each `spacing` after the one before; all of them are one
/// list of `count` keys where pairs are counted.
struct Lists {
  Key* keys;
  int count, width, spacing;

  QUERN_DEVICE_MEMBER Key& at(int i) const { return keys[i / width * spacing + i % width]; }

  /// Orders keys `apart` from each other: part of sorting pieces of `size` keys, every other piece
  /// upwards, or whole lists, all of them downwards.
  QUERN_DEVICE_MEMBER void order(int size, int apart) const {
    for (int pair = static_cast<int>(threadIdx.x); pair < count / 2; pair += kBestThreads) {
      const int first = pair / apart * 2 * apart + pair % apart;
      Key &a = at(first), &b = at(first + apart);
      const bool downwards = size == width || (first & size) == 0;
      if ((a < b) != downwards) continue;
      const Key larger = b;
      b = a;
      a = larger;
    }
    __syncthreads();
  }
  QUERN_DEVICE_MEMBER void merge(int size) const {
    for (int apart = size / 2; apart >= 1; apart /= 2) order(size, apart);
  }
  /// Keeps the better half of every two lists, which are sorted, in the first one's place: a list
  /// that rises and falls once, as `merge` wants it.
  QUERN_DEVICE_MEMBER void halve() const {
    for (int i = static_cast<int>(threadIdx.x); i < count / 2; i += kBestThreads) {
      Key* first = keys + i / width * 2 * spacing + i % width;
      const Key other = keys[i / width * 2 * spacing + spacing + width - 1 - i % width];
      if (*first < other) *first = other;
    }
    __syncthreads();
  }
};

}  // namespace

QUERN_KERNEL_BOUNDS(quern_best, BestArgs, kBestThreads) {
  __shared__ Key keys[kBestRun];
  const long long row = blockIdx.y, first = static_cast<long long>(blockIdx.x) * kBestRun;
  for (int i = static_cast<int>(threadIdx.x); i < kBestRun; i += kBestThreads) {
    const long long place = first + i, at = row * args.n + place;
    Key key = 0;
    if (place < args.n)
      key = args.values == nullptr ? args.keys[at]
                                   : key_of(args.values[at], static_cast<unsigned>(place));
    keys[i] = key;
  }
  __syncthreads();
  Lists lists{keys, kBestRun, args.width, args.width};
  for (int size = 2; size <= args.width; size *= 2) lists.merge(size);
  while (lists.count > args.width) {
    lists.halve();
    lists.count /= 2;
    lists.spacing *= 2;
    lists.merge(args.width);
  }
  Key* best = args.best + (row * gridDim.x + blockIdx.x) * args.k;
  for (int i = static_cast<int>(threadIdx.x); i < args.k; i += kBestThreads) best[i] = keys[i];
}

}  // namespace quern::backends::cuda
