#include "svg_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace quern::cli {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) < 0x20)
      out += '?';  // XML has no control characters.
    else
      out += c;
  }
  return out;
}

/// ` name="value"`
std::string number(const char* name, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), " %s=\"%.1f\"", name, value);
  return text;
}

std::string word(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + escaped(value) + "\"";
}

}  // namespace

std::string svg_text(double x, double y, const std::string& text, const char* anchor,
                     const char* style) {
  return "<text" + number("x", x) + number("y", y) + word("text-anchor", anchor) + style + ">" +
         escaped(text) + "</text>\n";
}

std::string svg_line(double x1, double y1, double x2, double y2, const char* colour) {
  return "<line" + number("x1", x1) + number("y1", y1) + number("x2", x2) + number("y2", y2) +
         word("stroke", colour) + "/>\n";
}

std::string svg_path(const std::vector<std::pair<double, double>>& points, const char* colour) {
  std::string list;
  for (const auto& [x, y] : points) {
    char text[64];
    std::snprintf(text, sizeof(text), "%.1f,%.1f ", x, y);
    list += text;
  }
  return "<polyline" + word("points", list) + word("stroke", colour) +
         " stroke-width=\"1.5\" fill=\"none\"/>\n";
}

std::string svg_mark(double x, double y, const std::string& colour, bool square,
                     const std::string& label) {
  const std::string title = "><title>" + escaped(label) + "</title></";
  if (!square) {
    return "<circle" + number("cx", x) + number("cy", y) + " r=\"3\"" + word("fill", colour) +
           title + "circle>\n";
  }
  return "<rect" + number("x", x - 5) + number("y", y - 5) +
         " width=\"10\" height=\"10\" fill=\"none\"" + word("stroke", colour) + title + "rect>\n";
}

std::string svg_box(double x, double y, double width, double height, const std::string& colour) {
  return "<rect" + number("x", x) + number("y", y) + number("width", width) +
         number("height", height) + word("fill", colour) + "/>\n";
}

double Axis::place(double value) const {
  const auto scaled = [&](double v) { return logarithmic ? std::log10(v) : v; };
  const double range = std::max(scaled(high) - scaled(low), 1e-12);
  return from + (scaled(value) - scaled(low)) / range * (to - from);
}

void Axis::include(double value) {
  low = empty ? value : std::min(low, value);
  high = empty ? value : std::max(high, value);
  empty = false;
}

std::vector<double> Axis::ticks() const {
  constexpr double kSlack = 1e-9;
  std::vector<double> found;
  for (const bool fine : {false, true}) {
    found.clear();
    for (double power = std::floor(std::log10(low)); power <= std::log10(high) + kSlack; ++power) {
      for (const double step : {1.0, 2.0, 5.0}) {
        const double value = step * std::pow(10.0, power);
        const bool inside = value >= low * (1 - kSlack) && value <= high * (1 + kSlack);
        if (inside && (fine || step < 1.5)) found.push_back(value);
      }
    }
    if (found.size() > 2) break;
  }
  return found;
}

}  // namespace quern::cli
