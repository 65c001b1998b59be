#include "quant/native_grid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "quant/fit.h"
#include "quant/panel.h"

namespace quern::quant {
namespace {

constexpr NativeGrid kGrids[] = {
    {Encoding::kQR8, -127, 127, 1, 1, 1}, {Encoding::kQR4, -8, 7, 1, 0, 15},
    {Encoding::kQR3, -7, 7, 2, 0, 15},    {Encoding::kQR5, -16, 15, 1, 1, 8},
    {Encoding::kQR6, -32, 31, 1, 1, 4},
};

/// Candidate scales: the largest magnitude meets the largest multiple at a sub-scale of
/// reach·largest_sub.
constexpr float kReaches[] = {0.84f, 0.90f, 0.96f, 1.02f, 1.08f, 1.14f};
/// Groups of a row on which the candidates are compared.
constexpr std::int64_t kComparedGroups = 8;
constexpr int kGroupSize = static_cast<int>(kSubGroup);
constexpr int kMostSubs = 16;

/// A grid in floats, for loops that compilers vectorize.
struct Levels {
  float low, high, step, inverse_step, top;  ///< `top`: the largest code.

  explicit Levels(const NativeGrid& grid)
      : low(static_cast<float>(grid.low)),
        high(static_cast<float>(grid.high)),
        step(static_cast<float>(grid.step)),
        inverse_step(1.0f / static_cast<float>(grid.step)),
        top(static_cast<float>((grid.high - grid.low) / grid.step)) {}

  float nearest(float x) const {
    return low + step * round_clamped((x - low) * inverse_step, 0.0f, top);
  }
};

/// The magnitude that the multiples reach, halves of a step included.
float reach_of(const NativeGrid& grid) { return 0.5f * static_cast<float>(grid.high - grid.low); }

/// The four sums of lane_sum for Σ w·(x − v)², v the nearest values under a scale, in units of the
/// scale. Most of the time of quantizing goes here, so steps of 1 do without the arithmetic of
/// others, and the sums go to memory: what stays in registers compilers take apart.
template <bool kWeighted, bool kUnitSteps>
void group_errors(const Levels& levels, const float* x, const float* weights, float scale,
                  float* lane4) {
  const float inverse = 1.0f / scale;
  float term[kGroupSize];
  for (int i = 0; i < kGroupSize; ++i) {
    const float t = x[i] * inverse;
    const float v = kUnitSteps ? round_clamped(t, levels.low, levels.high) : levels.nearest(t);
    const float error = t - v;
    term[i] = kWeighted ? weights[i] * error * error : error * error;
  }
  for (int l = 0; l < 4; ++l) lane4[l] = term[l] + term[4 + l] + term[8 + l] + term[12 + l];
}

struct Group {
  int sub;
  float error;
};

/// Of the sub-scales first … last.
template <bool kWeighted, bool kUnitSteps>
Group best_between(const Levels& levels, const float* x, const float* weights, float row_scale,
                   int first, int last) {
  // All errors before any comparison, whose outcome no processor foresees.
  float lanes[kMostSubs][4];
  for (int sub = first; sub <= last; ++sub) {
    group_errors<kWeighted, kUnitSteps>(levels, x, weights, row_scale * static_cast<float>(sub),
                                        lanes[sub - first]);
  }
  Group best{first, INFINITY};
  for (int sub = first; sub <= last; ++sub) {
    const float* lane = lanes[sub - first];
    const float scale = row_scale * static_cast<float>(sub);
    const float error = ((lane[0] + lane[1]) + (lane[2] + lane[3])) * scale * scale;
    best = error < best.error ? Group{sub, error} : best;
  }
  return best;
}

/// Sub-scales to seek among, in units of the one at which the largest magnitude meets the largest
/// multiple.
struct Reach {
  float first, last;
};
/// On Gaussian groups the best lies here.
constexpr Reach kBest{0.75f, 1.6f};
/// Of most groups also here, which is enough to tell row scales apart.
constexpr Reach kUsual{0.8f, 1.45f};

Group search_sub(const NativeGrid& grid, const float* x, float largest, const float* weights,
                 float row_scale, const Reach& reach) {
  if (!(largest > 0) || !(row_scale != 0)) return {grid.smallest_sub, 0.0f};
  const float center = std::min(largest / (reach_of(grid) * std::fabs(row_scale)), 1024.0f);
  const int least = std::max(grid.smallest_sub, 1);
  const int first = std::clamp(static_cast<int>(reach.first * center), least, grid.largest_sub);
  const int last = std::clamp(static_cast<int>(reach.last * center) + 1, first, grid.largest_sub);
  const auto seek = weights == nullptr
                        ? (grid.step == 1 ? best_between<false, true> : best_between<false, false>)
                        : (grid.step == 1 ? best_between<true, true> : best_between<true, false>);
  Group best = seek(Levels(grid), x, weights, row_scale, first, last);
  // Without multiples the largest element alone is more than most groups lose.
  if (grid.smallest_sub == 0 && (weights != nullptr || !(best.error < largest * largest))) {
    const float all = lane_sum<kGroupSize>(
        [&](int i) { return weights == nullptr ? x[i] * x[i] : weights[i] * x[i] * x[i]; });
    if (all <= best.error) best = {0, all};
  }
  return best;
}

/// The groups on which candidates are compared: spread evenly, and the one that clips first.
std::array<std::int64_t, kComparedGroups + 1> compared_groups(const float* x, std::int64_t groups) {
  std::array<std::int64_t, kComparedGroups + 1> chosen{};
  for (std::int64_t i = 0; i < kComparedGroups; ++i) {
    chosen[static_cast<std::size_t>(i)] = i * groups / kComparedGroups;
  }
  float largest = -1;
  for (std::int64_t group = 0; group < groups; ++group) {
    const float here = largest_magnitude(x + group * kSubGroup, kSubGroup);
    if (here > largest) chosen[kComparedGroups] = group;
    largest = std::max(largest, here);
  }
  return chosen;
}

/// Where an encoding's streams are: codes first, then sub-scales where there are any, row scales.
struct StreamPlan {
  const EncodingInfo& info;
  std::size_t scales, codes_end;

  explicit StreamPlan(const NativeGrid& grid)
      : info(*find_encoding(grid.id)), scales(info.streams.size() - 1) {
    while (info.streams[scales].cell_bytes == 0) --scales;
    codes_end = grid.has_subs() ? scales - 1 : scales;
  }

  /// Calls take(cell, its bytes, place of its bits in a code) for every cell of codes of `block`.
  template <class Byte, class Take>
  void visit_cells(const PanelStreams<Byte>& streams, std::int64_t block, Take take) const {
    int shift = 0;
    for (std::size_t s = 0; s < codes_end; ++s) {
      const int bytes = info.streams[s].cell_bytes;
      take(streams.at[s] + block * bytes, bytes, shift);
      shift += bytes / 64;  // 16 rows of 32 codes: 64 bytes a bit.
    }
  }
};

void put_codes(const StreamPlan& plan, const PanelStreams<std::byte>& streams, std::int64_t block,
               int row, const std::uint8_t* code) {
  plan.visit_cells(streams, block, [&](std::byte* cell, int bytes, int shift) {
    if (bytes == 512) put_bytes(cell, row, code);
    if (bytes == 256) put_nibbles(cell, row, code);
    if (bytes == 128) put_crumbs(cell, row, code, shift);
    if (bytes == 64) put_bits(cell, row, code, shift);
  });
}

void get_codes(const StreamPlan& plan, const PanelStreams<const std::byte>& streams,
               std::int64_t block, int row, std::uint8_t* code) {
  std::fill(code, code + kGroup, std::uint8_t{0});
  plan.visit_cells(streams, block, [&](const std::byte* cell, int bytes, int shift) {
    if (bytes == 512) get_bytes(cell, row, code);
    if (bytes == 256) get_nibbles(cell, row, code);
    if (bytes == 128) get_crumbs(cell, row, code, shift);
    if (bytes == 64) get_bits(cell, row, code, shift);
  });
}

/// QR8's codes are offset by 128, one below the lowest multiple.
int code_of_low(const NativeGrid& grid) { return grid.id == Encoding::kQR8 ? 1 : 0; }

}  // namespace

const NativeGrid* find_native_grid(Encoding id) noexcept {
  const auto* row = std::find_if(std::begin(kGrids), std::end(kGrids),
                                 [id](const NativeGrid& grid) { return grid.id == id; });
  return row == std::end(kGrids) ? nullptr : row;
}

float nearest_multiple(const NativeGrid& grid, float x) noexcept { return Levels(grid).nearest(x); }

void nearest_multiples(const NativeGrid& grid, const float* x, float inverse,
                       float* multiples) noexcept {
  const Levels levels(grid);
  for (int i = 0; i < kGroupSize; ++i) multiples[i] = levels.nearest(x[i] * inverse);
}

int best_sub(const NativeGrid& grid, const float* x, const float* weights,
             float row_scale) noexcept {
  if (!grid.has_subs()) return 1;
  return search_sub(grid, x, largest_magnitude(x, kSubGroup), weights, row_scale, kBest).sub;
}

float search_row_scale(const NativeGrid& grid, const float* x, const float* block_weights,
                       std::int64_t n) noexcept {
  if (n == 0) return 0.0f;
  const auto groups = compared_groups(x, n / kSubGroup);
  const float largest = largest_magnitude(x + groups.back() * kSubGroup, kSubGroup);
  if (!(largest > kNegligible)) return 0.0f;
  const float whole = largest / (reach_of(grid) * static_cast<float>(grid.largest_sub));
  if (!grid.has_subs()) return whole;
  std::array<float, kComparedGroups + 1> magnitude;
  std::transform(groups.begin(), groups.end(), magnitude.begin(), [x](std::int64_t group) {
    return largest_magnitude(x + group * kSubGroup, kSubGroup);
  });
  float best = whole, least = INFINITY;
  for (const float reach : kReaches) {
    float error = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      error +=
          block_weights[groups[i] / 4] *
          search_sub(grid, x + groups[i] * kSubGroup, magnitude[i], nullptr, whole * reach, kUsual)
              .error;
      if (!(error < least)) break;  // No group takes any of it away.
    }
    if (error < least) {
      least = error;
      best = whole * reach;
    }
  }
  return best;
}

void store_native_row(const NativeGrid& grid, const NativeRow& values, std::byte* panel,
                      std::int64_t cols, int row) noexcept {
  const auto streams = locate_streams(grid.id, panel, cols);
  const StreamPlan plan(grid);
  const std::int64_t n = padded_to(cols, 64);
  const int halving = grid.step - 1;  // Steps are 1 or 2; a division would take most of the time.
  for (std::int64_t k = 0; k < n; k += kGroup) {
    std::uint8_t code[kGroup];
    for (std::int64_t i = 0; i < kGroup; ++i) {
      const int multiple = values.multiples[static_cast<std::size_t>(k + i)];
      code[i] = static_cast<std::uint8_t>(((multiple - grid.low) >> halving) + code_of_low(grid));
    }
    put_codes(plan, streams, k / kGroup, row, code);
    if (!grid.has_subs()) continue;
    const std::uint8_t* sub = values.subs.data() + k / kSubGroup;
    const int both = (sub[0] - grid.smallest_sub) | (sub[1] - grid.smallest_sub) << 4;
    streams.at[plan.codes_end][k / kGroup * 16 + row] = static_cast<std::byte>(both);
  }
  store_le(streams.at[plan.scales] + 4 * row, values.row_scale);
}

float load_native_row(const NativeGrid& grid, const std::byte* panel, std::int64_t cols, int row,
                      const NativeRow& values) noexcept {
  const auto streams = locate_streams(grid.id, panel, cols);
  const StreamPlan plan(grid);
  const std::int64_t n = padded_to(cols, 64);
  const int mask = grid.largest_sub - grid.smallest_sub;
  for (std::int64_t k = 0; k < n; k += kGroup) {
    std::uint8_t code[kGroup];
    get_codes(plan, streams, k / kGroup, row, code);
    for (std::int64_t i = 0; i < kGroup; ++i) {
      const int multiple = grid.low + grid.step * (code[i] - code_of_low(grid));
      values.multiples[static_cast<std::size_t>(k + i)] = static_cast<std::int8_t>(multiple);
    }
    if (!grid.has_subs()) continue;
    const int both = std::to_integer<int>(streams.at[plan.codes_end][k / kGroup * 16 + row]);
    std::uint8_t* sub = values.subs.data() + k / kSubGroup;
    sub[0] = static_cast<std::uint8_t>(grid.smallest_sub + (both & mask));
    sub[1] = static_cast<std::uint8_t>(grid.smallest_sub + (both >> 4 & mask));
  }
  return load_le<float>(streams.at[plan.scales] + 4 * row);
}

}  // namespace quern::quant
