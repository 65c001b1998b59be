// Matrix products and row lookups: every encoding, every instruction set against the oracle's bits,
// and the oracle against double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/harness.h"
#include "kernels/install.h"
#include "quant/registry.h"

namespace quern::kernels::test {
namespace {

/// Activations and everything that a call needs.
struct Case {
  Weights weights;
  std::int64_t rows;
  Guarded x, bias, before;
  bool with_bias, accumulate;

  Case(Encoding e, std::int64_t n, std::int64_t k, std::int64_t t, Random& random, bool wild)
      : weights(e, n, k, random, wild),
        rows(t),
        x(4 * t * k),
        bias(4 * n),
        before(4 * t * n),
        with_bias(random.below(2) == 0),
        accumulate(random.below(2) == 0) {
    for (std::int64_t i = 0; i < t * k; ++i) x.floats()[i] = random.number(wild);
    for (std::int64_t i = 0; i < n; ++i) bias.floats()[i] = random.number(wild);
    for (std::int64_t i = 0; i < t * n; ++i) before.floats()[i] = random.number(wild);
  }
};

/// Packs all rows, the tiles one by one in reverse where `split`.
void pack(const KernelTable& table, const Case& c, std::byte* out, bool split) {
  PackArgs args{};
  args.x = c.x.floats();
  args.x_stride = args.cols = c.weights.k;
  args.rows = c.rows;
  args.out = out;
  args.tile_end = (c.rows + kRowTile - 1) / kRowTile;
  const auto kernel = table.pack_rows[static_cast<std::size_t>(c.weights.info->rows)];
  if (!split) return kernel(args);
  for (std::int64_t tile = args.tile_end; tile-- > 0;) {
    args.tile_begin = tile;
    args.tile_end = tile + 1;
    kernel(args);
  }
}

std::vector<float> product(const KernelTable& table, const Case& c, bool split) {
  const Weights& w = c.weights;
  Guarded packed(packed_rows_bytes(w.info->rows, c.rows, w.k));
  pack(table, c, packed.data(), split);
  Guarded y(4 * c.rows * w.n), scratch(linear_scratch_bytes(w.info->id, w.k));
  std::memcpy(y.data(), c.before.data(), static_cast<std::size_t>(y.size()));
  LinearArgs args{};
  args.weights = w.bytes.data();
  args.n = args.y_stride = w.n;
  args.k = w.k;
  args.panel_end = w.panels;
  args.x = packed.data();
  args.rows = c.rows;
  args.bias = c.with_bias ? c.bias.floats() : nullptr;
  args.y = y.floats();
  args.accumulate = c.accumulate;
  args.scratch = scratch.data();
  const auto kernel = table.linear[static_cast<std::size_t>(w.info->id)];
  if (!split) {
    kernel(args);
  } else {
    for (std::int64_t p = w.panels; p-- > 0;) {
      args.panel_begin = p;
      args.panel_end = p + 1;
      args.same_rows = p + 1 < w.panels;
      kernel(args);
    }
  }
  return {y.floats(), y.floats() + c.rows * w.n};
}

void compare_all(Encoding e, std::int64_t n, std::int64_t k, std::int64_t t, Random& random,
                 bool wild) {
  const Case c(e, n, k, t, random, wild);
  const std::vector<float> want = product(oracle(), c, false);
  for (const KernelTable* table : tables()) {
    for (const bool split : {false, true}) {
      const std::vector<float> got = product(*table, c, split);
      const std::int64_t at =
          first_difference(want.data(), got.data(), static_cast<std::int64_t>(want.size()));
      CAPTURE(std::string(table->isa));
      CAPTURE(std::string(find_encoding(e)->name));
      CAPTURE(n);
      CAPTURE(k);
      CAPTURE(t);
      CAPTURE(wild);
      CAPTURE(split);
      CAPTURE(c.with_bias);
      CAPTURE(c.accumulate);
      if (at >= 0) {
        CAPTURE(want[static_cast<std::size_t>(at)]);
        CAPTURE(got[static_cast<std::size_t>(at)]);
        CHECK(at == -1);
        return;
      }
      CHECK(at == -1);
    }
  }
}

std::vector<float> dequantized(const Weights& w) {
  const quant::EncodingOps* ops = quant::find_ops(w.info->id);
  std::vector<float> rows(static_cast<std::size_t>(w.panels * 16 * w.k));
  if (ops == nullptr) return {};
  for (std::int64_t p = 0; p < w.panels; ++p) {
    ops->dequantize_panel(w.bytes.data() + p * (w.bytes.size() / w.panels), w.k,
                          rows.data() + p * 16 * w.k);
  }
  return rows;
}

}  // namespace

TEST_CASE("every matrix product gives the oracle's bits, however many rows there are") {
  Random random(1);
  for (const Encoding e : weight_encodings()) {
    for (std::int64_t t = 1; t <= 17; ++t) compare_all(e, 40, 96, t, random, false);
    compare_all(e, 40, 96, 33, random, false);
    compare_all(e, 112, 128, 24, random, false);
    compare_all(e, 48, 64, 300, random, false);  // More rows than any kernel takes at once.
  }
}

TEST_CASE("every matrix product gives the oracle's bits for every row length") {
  Random random(2);
  for (const Encoding e : weight_encodings()) {
    for (const std::int64_t k : {1, 15, 31, 32, 33, 64, 65, 100, 255, 256, 300, 576}) {
      for (const std::int64_t n : {1, 17, 31}) {
        compare_all(e, n, k, 1 + random.below(12), random, false);
      }
    }
  }
}

TEST_CASE("every matrix product gives the oracle's bits for NaN, infinities and denormals") {
  Random random(3);
  for (const Encoding e : weight_encodings()) {
    for (int i = 0; i < 6; ++i) compare_all(e, 33, 1 + random.below(200), 1 + i * 3, random, true);
  }
}

TEST_CASE("packed rows are the same bytes on every instruction set") {
  Random random(4);
  for (const Encoding e : {Encoding::kF32, Encoding::kQ8_0, Encoding::kQR8}) {
    for (const std::int64_t k : {1, 30, 64, 200, 576, 4300}) {
      const Case c(e, 1, k, 13, random, false);
      const std::int64_t bytes = packed_rows_bytes(c.weights.info->rows, 13, k);
      Guarded want(bytes);
      pack(oracle(), c, want.data(), false);
      for (const KernelTable* table : tables()) {
        Guarded got(bytes);
        pack(*table, c, got.data(), true);
        CAPTURE(std::string(table->isa));
        CAPTURE(k);
        CHECK(std::memcmp(want.data(), got.data(), static_cast<std::size_t>(bytes)) == 0);
      }
    }
  }
}

TEST_CASE("a looked-up row is the dequantized row, bit for bit") {
  Random random(5);
  for (const Encoding e : weight_encodings()) {
    for (const std::int64_t k : {32, 100, 256, 320}) {
      const Weights w(e, 19, k, random, k == 100);
      const std::vector<float> rows = dequantized(w);
      REQUIRE(!rows.empty());
      for (const KernelTable* table : tables()) {
        for (const std::int64_t row : {0, 7, 15, 16, 18}) {
          Guarded out(4 * k);
          table->gather_row[static_cast<std::size_t>(e)](w.bytes.data(), row, k, out.floats());
          CAPTURE(std::string(table->isa));
          CAPTURE(std::string(w.info->name));
          CAPTURE(k);
          CAPTURE(row);
          CHECK(first_difference(rows.data() + row * k, out.floats(), k) == -1);
        }
      }
    }
  }
}

TEST_CASE("the oracle's products agree with double precision on dequantized weights") {
  Random random(6);
  for (const Encoding e : weight_encodings()) {
    const std::int64_t n = 32, k = 512, t = 5;
    Case c(e, n, k, t, random, false);
    c.with_bias = c.accumulate = false;
    const std::vector<float> rows = dequantized(c.weights);
    REQUIRE(!rows.empty());
    const std::vector<float> y = product(oracle(), c, false);
    double error = 0, power = 0;
    for (std::int64_t i = 0; i < t; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double want = 0;
        for (std::int64_t d = 0; d < k; ++d) {
          want +=
              double(rows[static_cast<std::size_t>(j * k + d)]) * double(c.x.floats()[i * k + d]);
        }
        const double got = double(y[static_cast<std::size_t>(i * n + j)]);
        error += (got - want) * (got - want);
        power += want * want;
      }
    }
    CAPTURE(std::string(c.weights.info->name));
    const double relative = std::sqrt(error / power);
    CHECK(relative < (c.weights.info->rows == RowFormat::kF32 ? 1e-6 : 0.02));
  }
}

TEST_CASE("streams lie where the table of encodings says") {
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    for (const std::int64_t k : {1, 31, 64, 576, 1537}) {
      const auto cols = static_cast<std::uint64_t>(k);
      const PanelGeometry geometry = panel_geometry(info->id, k);
      CAPTURE(std::string(info->name));
      CHECK(geometry.panel_bytes == static_cast<std::int64_t>(panel_bytes(*info, cols).value()));
      for (int i = 0; i < 4; ++i) {
        const auto offset = stream_offset(*info, cols, i);
        if (offset) CHECK(geometry.stream[i] == static_cast<std::int64_t>(*offset));
      }
    }
  }
}

}  // namespace quern::kernels::test
