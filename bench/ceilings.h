/// \file
/// What this machine allows at most: the limits that figures are compared with.
#pragma once

#include <string_view>

namespace quern::bench {

/// Multiply-adds of int8 that one core can do with an instruction set, in 10⁹/s: independent
/// `vpdpbusd`, `vpmaddubsw` + `vpaddw` or `sdot` in registers. 0 where none is known.
double int8_gmacs(std::string_view isa);

/// The same for float32 multiply-adds.
double float_gmacs(std::string_view isa);

/// Bytes that `threads` threads together can read from memory, in 10⁹/s: the best of several passes
/// over 512 MB. \param huge_pages asks for large pages, which the system may refuse.
double read_gb_per_s(int threads, bool huge_pages);

}  // namespace quern::bench
