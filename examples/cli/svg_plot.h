/// \file
/// The few shapes of SVG 1.1 (https://www.w3.org/TR/SVG11/) that a plot needs. Lengths in pixels.
#pragma once

#include <string>
#include <vector>

namespace quern::cli {

/// Text at (x, y). \param anchor "start", "middle" or "end". \param style further attributes.
std::string svg_text(double x, double y, const std::string& text, const char* anchor = "start",
                     const char* style = "");
std::string svg_line(double x1, double y1, double x2, double y2, const char* colour);
/// A line through all points.
std::string svg_path(const std::vector<std::pair<double, double>>& points, const char* colour);
/// A disc, or a hollow square around where it would be, which tells `label` under the pointer.
std::string svg_mark(double x, double y, const std::string& colour, bool square,
                     const std::string& label);
std::string svg_box(double x, double y, double width, double height, const std::string& colour);

/// A range of values on a stretch of pixels. Value type.
struct Axis {
  double from = 0, to = 1;  ///< Pixels.
  double low = 0, high = 1;
  bool logarithmic = false;

  double place(double value) const;
  /// Widens the range to hold `value`, the first time to just it.
  void include(double value);
  /// Of a logarithmic axis: every power of ten, with 2 and 5 times it where there are few.
  std::vector<double> ticks() const;
  bool empty = true;
};

}  // namespace quern::cli
