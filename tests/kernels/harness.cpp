#include "kernels/harness.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <limits>

#include "quant/registry.h"

namespace quern::kernels::test {

std::uint32_t Random::bits() {
  state_ = state_ * 6364136223846793005u + 1442695040888963407u;
  return static_cast<std::uint32_t>(state_ >> 33) ^ static_cast<std::uint32_t>(state_ >> 12);
}

float Random::uniform() {
  return static_cast<float>(static_cast<std::int32_t>(bits() >> 8) - (1 << 23)) * 0x1p-23f;
}

float Random::number(bool wild) {
  if (wild && below(16) == 0) {
    const float infinity = std::numeric_limits<float>::infinity();
    const float specials[] = {
        0.0f,  -0.0f,  1e-40f,   -3e-42f,   1e-37f,
        3e37f, -1e30f, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
    return specials[below(10)];
  }
  return (uniform() + uniform() + uniform()) * 1.5f;
}

Guarded::Guarded(std::int64_t bytes) : size_(bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t used = (static_cast<std::size_t>(bytes) + page - 1) / page * page;
  map_bytes_ = used + page;
  map_ = mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* base = static_cast<std::byte*>(map_);
  mprotect(base + used, page, PROT_NONE);
  data_ = base + used - bytes;
}

Guarded::~Guarded() { munmap(map_, map_bytes_); }

std::int64_t first_difference(const float* a, const float* b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const bool both_nan = a[i] != a[i] && b[i] != b[i];
    if (!both_nan && std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return i;
    }
  }
  return -1;
}

const std::vector<const KernelTable*>& tables() {
  static const std::vector<const KernelTable*> all = [] {
    std::vector<const KernelTable*> found;
    for (const Isa& isa : built_isas()) {
      const auto table = kernels_for(isa.name);
      if (table.ok()) found.push_back(*table);
    }
    return found;
  }();
  return all;
}

const KernelTable& oracle() { return *tables().front(); }

namespace {

/// Which streams hold float16, float32 or exponents, from the right: the rest are codes.
enum class Field : std::uint8_t { kCodes, kHalf, kFloat, kExponent };

Field field_of(Encoding e, int stream, const EncodingInfo::Stream& s) {
  if (e == Encoding::kF32) return Field::kFloat;
  if (e == Encoding::kF16) return Field::kHalf;
  if (e == Encoding::kMXFP4 && stream == 1) return Field::kExponent;
  if (s.k_step == 0) return Field::kFloat;
  if (s.k_step == 256) return Field::kHalf;
  const bool two_halves = e == Encoding::kQ4_1 || e == Encoding::kQ5_1;
  const bool plain = e == Encoding::kQ4_0 || e == Encoding::kQ5_0 || e == Encoding::kQ8_0 ||
                     e == Encoding::kIQ4_NL || two_halves;
  return plain && s.k_step == 32 && s.cell_bytes == 32 ? Field::kHalf : Field::kCodes;
}

void fill(std::byte* from, std::byte* to, Encoding e, Field field, Random& random, bool wild) {
  for (std::byte* p = from; p < to;) {
    const float x = random.number(wild) * 0.05f;
    if (field == Field::kFloat) {
      const auto bits = std::bit_cast<std::uint32_t>(x);
      for (int i = 0; i < 4; ++i) *p++ = static_cast<std::byte>((bits >> (8 * i)) & 255u);
    } else if (field == Field::kHalf || e == Encoding::kBF16) {
      const std::uint16_t bits =
          e == Encoding::kBF16 ? quant::f32_to_bf16(x) : quant::f32_to_f16(x);
      *p++ = static_cast<std::byte>(bits & 255u);
      *p++ = static_cast<std::byte>(bits >> 8);
    } else if (field == Field::kExponent) {
      const int wide[] = {0, 1, 2, 255, 254, 100};
      *p++ = static_cast<std::byte>(wild && random.below(8) == 0 ? wide[random.below(6)]
                                                                 : 120 + random.below(12));
    } else {
      *p++ = static_cast<std::byte>(random.below(256));
    }
  }
}

std::int64_t matrix_bytes(const EncodingInfo& info, std::int64_t panels, std::int64_t k) {
  return panels *
         static_cast<std::int64_t>(panel_bytes(info, static_cast<std::uint64_t>(k)).value());
}

}  // namespace

Weights::Weights(Encoding encoding, std::int64_t rows, std::int64_t cols, Random& random, bool wild)
    : info(find_encoding(encoding)),
      n(rows),
      k(cols),
      panels((rows + 15) / 16),
      bytes(matrix_bytes(*info, panels, cols)) {
  const auto one = bytes.size() / panels;
  for (std::int64_t p = 0; p < panels; ++p) {
    for (int s = 0; s < 4; ++s) {
      const auto& stream = info->streams[static_cast<std::size_t>(s)];
      if (stream.cell_bytes == 0) break;
      const auto u = static_cast<std::uint64_t>(k);
      const auto begin = static_cast<std::int64_t>(stream_offset(*info, u, s).value());
      const bool last = s == 3 || info->streams[static_cast<std::size_t>(s) + 1].cell_bytes == 0;
      const auto end =
          last ? one : static_cast<std::int64_t>(stream_offset(*info, u, s + 1).value());
      std::byte* base = bytes.data() + p * one;
      fill(base + begin, base + end, encoding, field_of(encoding, s, stream), random, wild);
    }
  }
}

std::vector<Encoding> weight_encodings() {
  std::vector<Encoding> all;
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    if (info->weight) all.push_back(info->id);
  }
  return all;
}

std::uint64_t hash_floats(const float* x, std::int64_t n, std::uint64_t seed) {
  std::uint64_t h = seed;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t word = x[i] != x[i] ? 0x7fc00000u : std::bit_cast<std::uint32_t>(x[i]);
    for (int b = 0; b < 4; ++b) h = (h ^ ((word >> (8 * b)) & 255u)) * 0x100000001b3u;
  }
  return h;
}

}  // namespace quern::kernels::test
