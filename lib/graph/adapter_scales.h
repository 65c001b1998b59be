/// \file
/// The names by which a graph finds what an adapter has for a matrix, low-rank pairs of products
/// aside.
#pragma once

#include <string_view>

namespace quern::graph {

// Behind the name of a matrix W `[rows, cols]`: float32 vectors that are multiplied by W·x before
// the bias is added, by W·x + bias, and by x.
inline constexpr std::string_view kProductScale = ".product_scale";  ///< `[rows]`
inline constexpr std::string_view kOutputScale = ".output_scale";    ///< `[rows]`
inline constexpr std::string_view kInputScale = ".input_scale";      ///< `[cols]`

// Behind the name of a table `[rows, cols]` whose rows are looked up, with a number in front of the
// end (lookup_weight): a table `[rows, rank]` and a matrix `[cols, rank]`; the matrix times a
// looked-up row of that table is added to the same row of the first.
inline constexpr std::string_view kLookupA = ".lookup_a";
inline constexpr std::string_view kLookupB = ".lookup_b";

}  // namespace quern::graph
