// Matrix products, lookups and packing, as bench_kernels times them: N=1536 K=576 (SmolLM2's w_up).
#include <memory>
#include <string>

#include "kernel_case.h"
#include "kernels/harness.h"
#include "quern/encoding.h"

namespace quern::bench {
namespace {

namespace test = kernels::test;
using kernels::KernelTable;

constexpr std::int64_t kN = 1536, kK = 576;

std::span<const float> as_floats(const test::Guarded& memory) {
  return {memory.floats(), static_cast<std::size_t>(memory.size()) / sizeof(float)};
}

std::unique_ptr<test::Guarded> random_rows(std::int64_t count) {
  auto x = std::make_unique<test::Guarded>(count * static_cast<std::int64_t>(sizeof(float)));
  test::Random random(1);
  for (std::int64_t i = 0; i < count; ++i) x->floats()[i] = random.number(false);
  return x;
}

/// A product of `rows` rows; they are packed by the oracle, so that products alone are compared.
struct LinearProblem {
  LinearProblem(Encoding encoding, const test::Weights& of, std::int64_t rows)
      : weights(of),
        packed(kernels::packed_rows_bytes(of.info->rows, rows, kK)),
        y(rows * kN * static_cast<std::int64_t>(sizeof(float))),
        scratch(kernels::linear_scratch_bytes(encoding, kK)) {
    const auto x = random_rows(rows * kK);
    const std::int64_t tiles = (rows + kernels::kRowTile - 1) / kernels::kRowTile;
    test::oracle().pack_rows[static_cast<std::size_t>(of.info->rows)](
        {x->floats(), kK, rows, kK, 0, tiles, packed.data()});
    args.weights = of.bytes.data();
    args.n = args.y_stride = kN;
    args.k = kK;
    args.panel_end = of.panels;
    args.x = packed.data();
    args.rows = rows;
    args.y = y.floats();
    args.scratch = scratch.data();
  }
  const test::Weights& weights;
  test::Guarded packed, y, scratch;
  kernels::LinearArgs args{};
};

KernelCase linear_case(Encoding encoding, const std::shared_ptr<test::Weights>& weights,
                       std::int64_t rows) {
  const auto problem = std::make_shared<LinearProblem>(encoding, *weights, rows);
  KernelCase one;
  one.name = "linear " + std::string(weights->info->name);
  one.shape = "T=" + std::to_string(rows);
  one.bound = weights->info->rows == RowFormat::kF32 ? Bound::kFloat : Bound::kInt8;
  one.macs = static_cast<double>(kN * kK * rows);
  one.bytes = static_cast<double>(weights->bytes.size());
  one.run = [encoding, weights, problem](const KernelTable& table) {
    table.linear[static_cast<std::size_t>(encoding)](problem->args);
  };
  one.output = [problem] { return as_floats(problem->y); };
  return one;
}

KernelCase gather_case(Encoding encoding, const std::shared_ptr<test::Weights>& weights) {
  const auto out = random_rows(kK);
  const std::shared_ptr<test::Guarded> row(std::make_shared<test::Guarded>(out->size()));
  KernelCase one;
  one.name = "gather_row " + std::string(weights->info->name);
  one.shape = "K=" + std::to_string(kK);
  one.elements = static_cast<double>(kK);
  one.run = [encoding, weights, row](const KernelTable& table) {
    table.gather_row[static_cast<std::size_t>(encoding)](weights->bytes.data(), 21, kK,
                                                         row->floats());
  };
  one.output = [row] { return as_floats(*row); };
  return one;
}

}  // namespace

std::vector<KernelCase> linear_cases() {
  std::vector<KernelCase> cases;
  for (const Encoding encoding : test::weight_encodings()) {
    test::Random random(7);
    const auto weights = std::make_shared<test::Weights>(encoding, kN, kK, random, false);
    for (const std::int64_t rows : {1, 4, 8, 64, 512})
      cases.push_back(linear_case(encoding, weights, rows));
    cases.push_back(gather_case(encoding, weights));
  }
  return cases;
}

std::vector<KernelCase> pack_cases() {
  constexpr std::int64_t rows = 64, cols = 1536;
  const std::shared_ptr<test::Guarded> x = random_rows(rows * cols);
  std::vector<KernelCase> cases;
  for (std::size_t format = 0; format < kernels::kRowFormats; ++format) {
    const auto packed = std::make_shared<test::Guarded>(
        kernels::packed_rows_bytes(static_cast<RowFormat>(format), rows, cols));
    KernelCase one;
    one.name = std::string("pack_rows ") + std::array<const char*, kernels::kRowFormats>{
                                               "f32", "q8 group 32", "q8 rotated"}[format];
    one.shape = "T=64 K=1536";
    one.elements = static_cast<double>(rows * cols);
    one.run = [x, packed, format](const KernelTable& table) {
      table.pack_rows[format](
          {x->floats(), cols, rows, cols, 0, rows / kernels::kRowTile, packed->data()});
    };
    one.output = [packed] { return as_floats(*packed); };
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace quern::bench
