/// \file
/// The names by which a graph finds the factors that an adapter has for a matrix.
#pragma once

#include <string_view>

namespace quern::graph {

// Behind the name of a matrix W `[rows, cols]`: float32 vectors that are multiplied by W·x before
// the bias is added, by W·x + bias, and by x.
inline constexpr std::string_view kProductScale = ".product_scale";  ///< `[rows]`
inline constexpr std::string_view kOutputScale = ".output_scale";    ///< `[rows]`
inline constexpr std::string_view kInputScale = ".input_scale";      ///< `[cols]`

}  // namespace quern::graph
