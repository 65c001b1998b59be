// Checks and times every kernel of the table, one thread: the bits of each instruction set against
// the oracle's, GMAC/s, GB/s and the share of the machine's ceiling that was measured beside it.
// Usage: bench_kernels [--isa NAME] [NAME-BEGINS-WITH …].
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "ceilings.h"
#include "kernel_case.h"
#include "kernels/dispatch.h"
#include "kernels/harness.h"

namespace {

using quern::bench::Bound;
using quern::bench::KernelCase;
namespace kernels = quern::kernels;

/// Best processor time of many short runs, in seconds: other work on the machine only makes it
/// longer.
template <class F>
double best_seconds(F f) {
  double best = 1e9, total = 0;
  int calls = 1;
  while (total < 0.05) {
    const std::clock_t start = std::clock();
    for (int i = 0; i < calls; ++i) f();
    const double t = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    total += t;
    if (t < 2e-4) {
      calls *= 2;  // Too short for the clock.
    } else if (t / calls < best) {
      best = t / calls;
    }
  }
  return best;
}

/// A table with the ceilings of its instruction set.
struct Contender {
  const kernels::KernelTable* table;
  double int8_gmacs, float_gmacs;
};

void print_line(const KernelCase& one, const Contender& contender, bool same, double seconds) {
  std::printf("%-22s %-14s %-11s %-7s", one.name.c_str(), one.shape.c_str(), contender.table->isa,
              same ? "same" : "DIFFERS");
  const double rate = (one.macs > 0 ? one.macs : one.elements) / seconds * 1e-9;
  std::printf(" %8.2f %s", rate, one.macs > 0 ? "GMAC/s" : "Gnum/s");
  if (one.bytes > 0) std::printf(" %7.1f GB/s", one.bytes / seconds * 1e-9);
  const double ceiling = one.bound == Bound::kInt8    ? contender.int8_gmacs
                         : one.bound == Bound::kFloat ? contender.float_gmacs
                                                      : 0.0;
  if (ceiling > 0) std::printf("  %5.1f %%", 100.0 * rate / ceiling);
  std::printf("\n");
  std::fflush(stdout);
}

/// \return whether every table gave the oracle's bits.
bool bench_case(const KernelCase& one, const std::vector<Contender>& contenders) {
  one.run(kernels::test::oracle());
  const auto first = one.output();
  const std::vector<float> expected(first.begin(), first.end());
  bool all_same = true;
  for (const Contender& contender : contenders) {
    one.run(*contender.table);
    const bool same =
        std::memcmp(expected.data(), one.output().data(), expected.size() * sizeof(float)) == 0;
    all_same = all_same && same;
    print_line(one, contender, same, best_seconds([&] { one.run(*contender.table); }));
  }
  return all_same;
}

std::vector<Contender> contenders_of(const char* isa) {
  std::vector<Contender> contenders;
  for (const kernels::KernelTable* table : kernels::test::tables()) {
    if (isa != nullptr && std::strcmp(isa, table->isa) != 0) continue;
    contenders.push_back(
        {table, quern::bench::int8_gmacs(table->isa), quern::bench::float_gmacs(table->isa)});
    std::printf("%-11s one core: int8 %.0f GMAC/s, float32 %.0f GMAC/s\n", table->isa,
                contenders.back().int8_gmacs, contenders.back().float_gmacs);
  }
  return contenders;
}

bool is_wanted(const KernelCase& one, const std::vector<std::string>& beginnings) {
  if (beginnings.empty()) return true;
  for (const std::string& beginning : beginnings)
    if (one.name.rfind(beginning, 0) == 0) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const char* isa = nullptr;
  std::vector<std::string> beginnings;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--isa") == 0 && i + 1 < argc) {
      isa = argv[++i];
    } else {
      beginnings.emplace_back(argv[i]);
    }
  }
  const std::vector<Contender> contenders = contenders_of(isa);
  if (contenders.empty()) {
    std::fprintf(stderr, "this machine or build lacks the instruction set %s\n", isa);
    return 1;
  }
  bool all_same = true, any = false;
  for (const auto cases :
       {quern::bench::linear_cases, quern::bench::pack_cases, quern::bench::attention_cases,
        quern::bench::vector_cases, quern::bench::recurrent_cases}) {
    for (const KernelCase& one : cases()) {
      if (!is_wanted(one, beginnings)) continue;
      any = true;
      all_same = bench_case(one, contenders) && all_same;
    }
  }
  if (!any) std::fprintf(stderr, "no kernel's name begins so; without a name all are measured\n");
  return any && all_same ? 0 : 1;
}
