/// \file
/// Packing of eight rows at once: each row writes its numbers side by side, then vectors are turned
/// so that they hold what lies side by side in the packing, a column of the rows. Attention turns
/// squares of sixteen.
///
/// `Isa` has swap<distance>(V), blend<bit>(V without, V with), the lanes whose number has the bit
/// from the second, and sums_of_fours(V::Int), each lane's sum of four signed bytes.
#pragma once

#include "kernels/generic/vec16.h"
#include "kernels/packed_rows.h"

namespace quern::kernels {
namespace {

template <class Isa>
class PackTurn {
 public:
  using V = typename Isa::V;
  using Int = typename V::Int;

  /// out[8k + t] = x[t·stride + k] for k < 16, t < 8.
  static QUERN_INLINE void floats(const float* x, std::int64_t stride, float* out) {
    V v[8];
    each<8>([&](auto t) QUERN_INLINE_LAMBDA { v[t] = V::load(x + t * stride); });
    turn(v);
    each<8>([&](auto i) QUERN_INLINE_LAMBDA { v[i].store(out + line(i) * 8); });
  }

  /// Two records of kQ8Rotated in whose place lie, 64 bytes apart, 64 codes of each row.
  /// \return the sums of the rows' codes, in eight lanes.
  static QUERN_INLINE Int rotated_records(std::byte* records) {
    V v[8];
    each<8>([&](auto t) QUERN_INLINE_LAMBDA { v[t] = load(records + 64 * t); });
    turn(v);
    Int sums[4];
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {  // Of sixteen numbers i.
      constexpr int kFirst = i.value % 2 * 4 + i.value / 2;
      sums[i] = sum_of_lines(v[kFirst], v[kFirst + 2]);
    });
    each<2>([&](auto record) QUERN_INLINE_LAMBDA {
      std::byte* to = records + record * 8 * kRotatedRecord;
      each<4>([&](auto i) QUERN_INLINE_LAMBDA { store(v[2 * i + record], to + 64 * i); });
      const Int low = sums[2 * record] & Int::all(0xffff);
      store_first_half(low | sums[2 * record + 1].template shift_left<16>(), to + 256);
    });
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  /// Where the 32 codes of row t are put before group_record.
  static QUERN_INLINE std::int64_t group_place(std::int64_t t) { return t % 4 * 64 + t / 4 * 32; }
  /// A record of kQ8Group32 with codes in those places and the scales in theirs.
  static QUERN_INLINE void group_record(std::byte* record) {
    V v[4];
    each<4>([&](auto t) QUERN_INLINE_LAMBDA { v[t] = load(record + 64 * t); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<1>(v[2 * i], v[2 * i + 1]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<2>(v[i], v[i + 2]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<8>(v[2 * i], v[2 * i + 1]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<4>(v[2 * i], v[2 * i + 1]); });
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {  // Columns 2·line, 2·line + 1.
      constexpr int kLine = i.value / 2 + i.value % 2 * 2;
      store(v[i], record + 64 * kLine);
    });
    const V scale = both_halves(load(record + 8 * kGroupScale));
    const Int half[2] = {sum_of_lines(v[0], v[2]), sum_of_lines(v[1], v[3])};
    const Int all = half[0] + half[1];
    const auto start = [](const Int& sum) QUERN_INLINE_LAMBDA {
      return from_bits(Int::all(0) - sum.template shift_left<7>());
    };
    const auto scaled = [&](const Int& sum) QUERN_INLINE_LAMBDA {
      const V magic = V::all(12582912.0f);
      return scale * (from_bits(bits(magic) + sum) - magic);
    };
    store(halves(start(all), start(half[0])), record + 8 * kGroupStart);
    store(halves(start(half[1]), scaled(all)), record + 8 * kGroupStart + 64);
    store(halves(scaled(half[0]), scaled(half[1])), record + 8 * kGroupStart + 128);
  }

  /// The codes of a record of 8 rows, `[8][8 rows][4]`, ^ flip, as 32 bytes a row.
  static QUERN_INLINE void rows_of_record(const std::byte* record, const Int& flip,
                                          std::byte* out) {
    V v[4];
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {  // As group_record stores them.
      constexpr int kLine = i.value / 2 + i.value % 2 * 2;
      v[i] = from_bits(bits(load(record + 64 * kLine)) ^ flip);
    });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<4>(v[2 * i], v[2 * i + 1]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<8>(v[2 * i], v[2 * i + 1]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<2>(v[i], v[i + 2]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA { exchange<1>(v[2 * i], v[2 * i + 1]); });
    each<2>([&](auto i) QUERN_INLINE_LAMBDA {  // Vector j holds rows j and j + 4.
      const V &a = v[2 * i], &b = v[2 * i + 1];
      store(halves(a, Isa::template swap<8>(b)), out + 64 * i);
      store(halves(Isa::template swap<8>(a), b), out + 128 + 64 * i);
    });
  }

  /// Lane j of vector i becomes lane i of vector j.
  static QUERN_INLINE void square(V (&v)[16]) {
    square_stage<1>(v);
    square_stage<2>(v);
    square_stage<4>(v);
    square_stage<8>(v);
  }

  /// Lanes 0 … 7.
  static QUERN_INLINE void store_first_half(const Int& x, std::byte* to) {
    std::int32_t lanes[16];
    x.store(lanes);
    std::memcpy(to, lanes, 32);
  }

 private:
  /// Exchanges the lanes with a bit of `a` and those without it of `b`.
  template <int bit>
  static QUERN_INLINE void exchange(V& a, V& b) {
    const V other = Isa::template swap<bit>(a);
    a = Isa::template blend<bit>(a, Isa::template swap<bit>(b));
    b = Isa::template blend<bit>(other, b);
  }
  template <int bit>
  static QUERN_INLINE void square_stage(V (&v)[16]) {
    each<8>([&](auto i) QUERN_INLINE_LAMBDA {
      constexpr int kAt = i.value / bit * 2 * bit + i.value % bit;
      exchange<bit>(v[kAt], v[kAt + bit]);
    });
  }
  /// From rows t of sixteen numbers to columns: vector i holds line(i) and the next one.
  static QUERN_INLINE void turn(V (&v)[8]) {
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { exchange<1>(v[2 * i], v[2 * i + 1]); });
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      constexpr int kAt = i.value / 2 * 4 + i.value % 2;
      exchange<2>(v[kAt], v[kAt + 2]);
    });
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { exchange<4>(v[i], v[i + 4]); });
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { exchange<8>(v[2 * i], v[2 * i + 1]); });
  }
  static constexpr QUERN_INLINE int line(int i) { return i / 2 * 2 + i % 2 * 8; }

  /// Sums of four columns of bytes, in both halves.
  static QUERN_INLINE Int sum_of_lines(const V& a, const V& b) {
    const Int two = Isa::sums_of_fours(bits(a)) + Isa::sums_of_fours(bits(b));
    return two + bits(Isa::template swap<8>(from_bits(two)));
  }
  /// The first half of `a` before the second of `b`.
  static QUERN_INLINE V halves(const V& a, const V& b) { return Isa::template blend<8>(a, b); }
  static QUERN_INLINE V both_halves(const V& a) { return halves(a, Isa::template swap<8>(a)); }

  static QUERN_INLINE V load(const std::byte* p) {
    return V::load(reinterpret_cast<const float*>(p));
  }
  static QUERN_INLINE void store(const V& v, std::byte* p) { v.store(reinterpret_cast<float*>(p)); }
};

}  // namespace
}  // namespace quern::kernels
