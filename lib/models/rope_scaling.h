/// \file
/// The arithmetic of rope scaling: what each published method divides the frequencies by.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "quern/config.h"

namespace quern::models {

/// The canonical words of `rope.type` that a checkpoint may say.
inline constexpr std::array<std::string_view, 5> kRopeTypes = {"none", "linear", "llama3", "yarn",
                                                               "longrope"};

/// 0.1·m·ln(factor) + 1 for factors over 1 (Peng et al. 2023, "YaRN", eq. 22).
double yarn_mscale(double factor, double m) noexcept;

/// What each of the `plain` frequencies is divided by, as `rope.*` says. kOutOfRange, kMismatch.
Result<std::vector<double>> rope_divisors(const Config& config, const std::vector<float>& plain);

/// The list `key`: one positive number per frequency. kMismatch, kOutOfRange.
Result<std::vector<double>> rope_factors(const Config& config, std::string_view key,
                                         std::size_t count);

}  // namespace quern::models
