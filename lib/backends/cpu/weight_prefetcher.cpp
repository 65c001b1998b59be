#include "backends/cpu/weight_prefetcher.h"

namespace quern::backends::cpu {

std::vector<WeightPart> weight_parts(std::span<const std::unique_ptr<Step>> steps,
                                     const Schedule& schedule, int thread, int threads) {
  std::vector<WeightPart> parts;
  std::size_t first = 0;
  for (std::size_t run = 0; run < schedule.runs.size(); ++run) {
    for (std::size_t i = schedule.runs[run].begin; i < schedule.runs[run].end; ++i) {
      const auto step = static_cast<std::size_t>(schedule.steps[i]);
      for (const std::span<const std::byte> bytes : steps[step]->weights(thread, threads)) {
        if (bytes.empty()) continue;
        parts.push_back({run, first, bytes});
        first += bytes.size();
      }
    }
  }
  return parts;
}

}  // namespace quern::backends::cpu
