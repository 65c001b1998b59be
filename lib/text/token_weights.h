/// \file
/// Passes over a whole vocabulary, written so that every compiler makes vectors of them and every
/// processor gets the same bits. Thread rule: pure, any thread.
#pragma once

#include <span>

namespace quern::text {

/// \return the largest value, −∞ for none. \pre no NaN.
float largest(std::span<const float> values) noexcept;

/// Whether every value is finite or −∞.
bool are_usable(std::span<const float> values) noexcept;

/// weights[i] = e^((values[i] − top) / temperature), with a relative error of at most 1e-5; exactly
/// 1 at top, 0 below 2^−125. Only IEEE + − × ÷ are used.
/// \pre no value above top, temperature > 0, spans of one length.
void weigh(std::span<const float> values, float top, float temperature,
           std::span<float> weights) noexcept;

/// Their sum in double precision, in an order of its own.
double sum_of(std::span<const float> weights) noexcept;

}  // namespace quern::text
