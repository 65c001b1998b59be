#include "convert/input_noise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "convert/second_moments.h"
#include "convert/window_reader.h"
#include "quant/panel.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kRotation = 64;
constexpr float kSteps = 127.0F;

/// What rounding `n` elements to 8 bits under one scale changes, squared.
double rounding_error(const float* x, std::int64_t n) {
  float largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  if (!(largest > 0)) return 0;
  const float scale = largest / kSteps, inverse = kSteps / largest;
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto error = static_cast<double>(x[i] - std::nearbyint(x[i] * inverse) * scale);
    sum += error * error;
  }
  return sum;
}

struct Sums {
  double square = 0, rotated = 0, grouped = 0;

  void add(const float* row, std::int64_t cols) {
    for (std::int64_t k = 0; k < cols; ++k) {
      square += static_cast<double>(row[k]) * static_cast<double>(row[k]);
    }
    for (std::int64_t k = 0; k < cols; k += quant::kGroup) {
      grouped += rounding_error(row + k, std::min(quant::kGroup, cols - k));
    }
    std::vector<float> turned(static_cast<std::size_t>(quant::padded_to(cols, kRotation)));
    std::copy_n(row, cols, turned.begin());
    const auto n = static_cast<std::int64_t>(turned.size());
    quant::hadamard64(turned.data(), n);
    rotated += rounding_error(turned.data(), n);
  }
};

/// Thread rule: as LinearObserver; one thread does it all.
class NoiseObserver final : public backends::LinearObserver {
 public:
  explicit NoiseObserver(const std::vector<SharedInput>& inputs) {
    for (const SharedInput& input : inputs) sums[input.weights.front()];
  }
  bool wants(std::string_view weight) const override { return sums.find(weight) != sums.end(); }
  void see(const backends::ObservedRows& rows, int thread, int) noexcept override {
    const auto found = sums.find(rows.weight);
    if (thread != 0 || found == sums.end()) return;
    for (std::int64_t row = 0; row < rows.n; ++row) {
      found->second.add(rows.rows + row * rows.cols, rows.cols);
    }
  }

  std::map<std::string, Sums, std::less<>> sums;
};

}  // namespace

double InputNoise::of(RowFormat rows) const noexcept {
  if (rows == RowFormat::kQ8Rotated) return rotated;
  return rows == RowFormat::kQ8Group32 ? grouped : 0.0;
}

Result<InputNoises> measure_input_noise(const Model& model, const TokenWindows& windows,
                                        const std::shared_ptr<Executor>& executor,
                                        ProgressMeter& meter) {
  const std::vector<SharedInput> inputs = find_inputs(model);
  std::size_t last_node = 0;
  for (const SharedInput& input : inputs) last_node = std::max(last_node, input.last_node);
  NoiseObserver observer(inputs);
  if (!inputs.empty()) {
    QUERN_CHECK(read_windows_with(model, windows, last_node, observer, executor, meter));
  }
  InputNoises found;
  for (const SharedInput& input : inputs) {
    const Sums& sum = observer.sums.find(input.weights.front())->second;
    if (!(sum.square > 0)) continue;
    for (const std::string& weight : input.weights) {
      found[weight] = {sum.rotated / sum.square, sum.grouped / sum.square};
    }
  }
  return found;
}

}  // namespace quern::convert
