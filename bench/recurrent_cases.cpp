// Kernels whose state every row changes, as bench_kernels times them. A call begins with zeros, and
// puts them there: a few hundredths of its time.
#include <algorithm>
#include <memory>
#include <string>

#include "kernel_case.h"
#include "kernels/harness.h"

namespace quern::bench {
namespace {

using kernels::KernelTable;
using kernels::test::Random;

/// Numbers in whole cache lines, as a program's buffers are: random ones of a range.
class Numbers {
 public:
  explicit Numbers(std::int64_t count) : count_(count), memory_(count * 4) { zero(); }
  Numbers(std::int64_t count, std::uint64_t seed, float from, float to) : Numbers(count) {
    Random random(seed);
    for (float& number : span()) number = from + (random.uniform() + 1.0F) * 0.5F * (to - from);
  }

  float* data() const { return memory_.floats(); }
  std::span<float> span() const { return {data(), static_cast<std::size_t>(count_)}; }
  void zero() const { std::ranges::fill(span(), 0.0F); }

 private:
  std::int64_t count_;
  kernels::test::Guarded memory_;
};

/// A scan of `heads` heads: one rate a head as in Mamba 2, or a rate for every number as in Mamba.
struct Scan {
  Scan(std::int64_t row_count, std::int64_t head_count, std::int64_t head_dim, std::int64_t numbers,
       bool own_rates)
      : rows(row_count), heads(head_count), columns(heads * head_dim), n(numbers), own(own_rates) {
    args.rows = rows;
    args.columns = columns;
    args.head_dim = head_dim;
    args.n = n;
    args.a = a.data();
    args.rates = own ? n : 1;
    args.skip = skip.data();
    args.step = step.data();
    args.step_stride = heads;
    args.b = b.data();
    args.c = c.data();
    args.b_stride = n;
    args.x = x.data();
    args.out = out.data();
    args.x_stride = columns;
    args.state = state.data();
  }

  std::int64_t rows, heads, columns, n;
  bool own;
  Numbers a{own ? columns * n : heads, 1, -8.0F, -0.1F};
  Numbers skip{heads, 2, -1.0F, 1.0F};
  Numbers step{rows * heads, 3, 0.001F, 0.1F};
  Numbers b{rows * n, 4, -1.0F, 1.0F};
  Numbers c{rows * n, 5, -1.0F, 1.0F};
  Numbers x{rows * columns, 6, -1.0F, 1.0F};
  Numbers out{rows * columns};
  Numbers state{columns * (n + (own ? 0 : 1))};
  kernels::ScanArgs args{};
};

KernelCase scan_case(std::string name, std::string shape, std::shared_ptr<Scan> scan) {
  KernelCase one;
  one.name = std::move(name);
  one.shape = std::move(shape);
  one.elements = static_cast<double>(scan->rows * scan->columns * scan->n);
  one.run = [scan](const KernelTable& table) {
    scan->state.zero();
    table.scan(scan->args);
  };
  one.output = [scan] { return std::span<const float>(scan->out.span()); };
  return one;
}

struct Conv {
  static constexpr std::int64_t kRows = 32, kColumns = 1536, kKernel = 4;

  Numbers weight{kKernel * kColumns, 1, -1.0F, 1.0F};
  Numbers bias{kColumns, 2, -1.0F, 1.0F};
  Numbers x{kRows * kColumns, 3, -1.0F, 1.0F};
  Numbers out{kRows * kColumns};
  Numbers past{(kKernel - 1) * kColumns};
};

KernelCase conv_case(bool silu) {
  const auto conv = std::make_shared<Conv>();
  KernelCase one;
  one.name = silu ? "causal_conv silu" : "causal_conv";
  one.shape = "32×1536×4";
  one.elements = static_cast<double>(Conv::kRows * Conv::kColumns);
  one.run = [conv, silu](const KernelTable& table) {
    conv->past.zero();
    kernels::ConvArgs args{};
    args.rows = Conv::kRows;
    args.cols = Conv::kColumns;
    args.kernel = Conv::kKernel;
    args.end = Conv::kColumns;
    args.weight = conv->weight.data();
    args.bias = conv->bias.data();
    args.x = conv->x.data();
    args.out = conv->out.data();
    args.past = conv->past.data();
    args.silu = silu;
    table.causal_conv(args);
  };
  one.output = [conv] { return std::span<const float>(conv->out.span()); };
  return one;
}

}  // namespace

std::vector<KernelCase> recurrent_cases() {
  return {scan_case("scan one rate", "64×512×128", std::make_shared<Scan>(64, 8, 64, 128, false)),
          scan_case("scan own rates", "32×768×16", std::make_shared<Scan>(32, 768, 1, 16, true)),
          conv_case(false), conv_case(true)};
}

}  // namespace quern::bench
