// Prints the machine's ceilings as one JSON document, for `model`. Usage: bench_machine [threads].
#include <cstdio>
#include <cstdlib>

#include "ceilings.h"
#include "kernels/dispatch.h"
#include "quern/executor.h"

int main(int argc, char** argv) {
  const int wanted = argc > 1 ? std::atoi(argv[1]) : 0;
  const int threads = wanted > 0 ? wanted : quern::usable_cores();
  std::printf("{\"threads\": %d, \"read_gb_per_s\": %.2f, \"read_small_pages_gb_per_s\": %.2f",
              threads, quern::bench::read_gb_per_s(threads, true),
              quern::bench::read_gb_per_s(threads, false));
  for (const auto& isa : quern::kernels::built_isas()) {
    if (!isa.available()) continue;
    std::printf(", \"%s\": {\"int8_gmacs\": %.1f, \"float_gmacs\": %.1f}", isa.name.data(),
                quern::bench::int8_gmacs(isa.name), quern::bench::float_gmacs(isa.name));
  }
  std::printf("}\n");
  return 0;
}
