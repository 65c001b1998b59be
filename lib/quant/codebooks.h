/// \file
/// The 16-entry codebooks of 4-bit encodings: constants alone, so that every ISA may include them.
#pragma once

#include <array>
#include <cstdint>

namespace quern::quant {

/// IQ4_NL and IQ4_XS: value codebook[code] · scale.
inline constexpr std::array<std::int8_t, 16> kIq4Codebook = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// MXFP4's E2M1 values, doubled to be integers: value codebook[code] · 2^(e − 128). Minus zero
/// reads as zero. (OCP Microscaling Formats specification 1.0, section 5.3.3.)
inline constexpr std::array<std::int8_t, 16> kE2m1Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace quern::quant
