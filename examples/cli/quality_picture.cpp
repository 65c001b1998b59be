// The picture of quality reports: errors tensor by tensor, and size against damage.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "quality_table.h"
#include "svg_plot.h"

namespace quern::cli {
namespace {

constexpr double kWidth = 1180, kHeight = 500, kTop = 104, kBottom = 410;
constexpr double kLeft = 64, kRight = 700, kSecondLeft = 800, kSecondRight = 1150;
/// From few bits to many; the same encoding has the same colour in every picture.
constexpr struct {
  const char* encoding;
  const char* colour;
} kColours[] = {{"qr3", "#cc3311"}, {"qr4", "#ee7733"},  {"qr5", "#ccaa22"}, {"qr6", "#228833"},
                {"qr8", "#33bbee"}, {"q8_0", "#4477aa"}, {"bf16", "#aa3377"}};
constexpr const char* kOtherColours[] = {"#555555", "#997700", "#009988", "#bb5566", "#7744aa"};
constexpr const char* kGrid = "#e4e4e4";
constexpr const char* kInk = "#333333";
constexpr const char* kGray = " fill=\"#666666\"";
constexpr const char* kBold = " font-weight=\"bold\" font-size=\"13\"";

/// A tensor of a report.
struct TensorPoint {
  std::string name, encoding;
  double at = 0, error = 0, bytes = 0, bits = 0;  ///< `at`: which of the report's tensors.
};

double number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
}

const Json& member(const Json& object, const char* key) {
  static const Json none;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : none;
}

std::string word_of(const Json& object, const char* key) {
  const Json& found = member(object, key);
  return found.is_string() ? found.get<std::string>() : "?";
}

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::vector<TensorPoint> tensors_of(const QualityReport& report) {
  std::vector<TensorPoint> points;
  for (const Json& tensor : member(report.json, "tensors")) {
    if (!tensor.is_object()) continue;
    const double weighted = number_of(tensor, "weighted_error");
    points.push_back({word_of(tensor, "name"), word_of(tensor, "encoding"),
                      static_cast<double>(points.size()),
                      weighted > 0 ? weighted : number_of(tensor, "relative_error"),
                      number_of(tensor, "bytes"), number_of(tensor, "bits")});
  }
  return points;
}

/// What an encoding holds of a file.
struct Share {
  double bits = 0, bytes = 0;
  int tensors = 0;
};

/// Colours of all encodings that occur, and what they hold of the first report.
class Palette {
 public:
  explicit Palette(const std::vector<std::vector<TensorPoint>>& reports) {
    for (const auto& tensors : reports) {
      for (const TensorPoint& tensor : tensors) {
        Share& share = shares_[tensor.encoding];
        share.bits = std::max(share.bits, tensor.bits);
        if (&tensors != &reports.front()) continue;
        share.bytes += tensor.bytes;
        ++share.tensors;
      }
    }
  }
  std::string of(const std::string& encoding) const {
    for (const auto& row : kColours) {
      if (encoding == row.encoding) return row.colour;
    }
    std::size_t sum = 0;
    for (const char c : encoding) sum = sum * 31 + static_cast<unsigned char>(c);
    return kOtherColours[sum % std::size(kOtherColours)];
  }
  /// From few bits to many.
  std::string legend() const {
    std::vector<std::pair<std::string, Share>> order(shares_.begin(), shares_.end());
    std::sort(order.begin(), order.end(),
              [](const auto& a, const auto& b) { return a.second.bits < b.second.bits; });
    std::string out;
    double x = kLeft, y = kBottom + 56;
    for (const auto& [encoding, share] : order) {
      std::string label = encoding;
      if (share.tensors > 0) {
        label += ": " + std::to_string(share.tensors) + " matrices, " +
                 formatted("%.2f MB", share.bytes / 1e6);
      }
      out += svg_box(x, y - 9, 10, 10, of(encoding)) + svg_text(x + 15, y, label);
      x += 206;
      if (x <= kRight - 160) continue;
      x = kLeft;
      y += 18;
    }
    return out;
  }

 private:
  std::map<std::string, Share> shares_;
};

/// "12" of layers.12.wq, the first part of other names.
std::string layer_of(const std::string& name) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) return part;
    begin = end + 1;
  }
  return name.substr(0, name.find('.'));
}

/// A line where each layer begins, and its number where there is room.
std::string layer_ticks(const std::vector<TensorPoint>& tensors, const Axis& x) {
  constexpr double kCharWidth = 7;
  std::string out, before;
  double free_from = 0;
  for (const TensorPoint& tensor : tensors) {
    const std::string layer = layer_of(tensor.name);
    if (layer == before) continue;
    before = layer;
    const double at = x.place(tensor.at - 0.5);
    out += svg_line(at, kTop, at, kBottom, kGrid);
    if (at < free_from) continue;
    out += svg_text(at + 2, kBottom + 14, layer, "start", kGray);
    free_from = at + kCharWidth * static_cast<double>(layer.size()) + 8;
  }
  return out + svg_text((kLeft + kRight) / 2, kBottom + 32, "layer", "middle", kGray);
}

std::string frame(const Axis& x, const std::string& title) {
  return svg_text(x.from, kTop - 14, title, "start", " font-weight=\"bold\"") +
         svg_line(x.from, kBottom, x.to, kBottom, kInk) +
         svg_line(x.from, kTop, x.from, kBottom, kInk);
}

/// Widens a logarithmic axis to 1, 2 or 5 times powers of ten.
void round_out(Axis& axis) {
  const auto power = [](double value) { return std::pow(10.0, std::floor(std::log10(value))); };
  const double below = power(axis.low), above = power(axis.high);
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * below <= axis.low) axis.low = step * below;
  }
  for (const double step : {10.0, 5.0, 2.0}) {
    if (step * above >= axis.high) axis.high = step * above;
  }
  if (!(axis.high > axis.low)) axis.high = 10 * axis.low;
}

std::string draw_errors(const std::vector<std::vector<TensorPoint>>& reports,
                        const Palette& palette) {
  Axis x{kLeft, kRight, 0, 1, false}, y{kBottom, kTop, 0, 1, true};
  for (const auto& tensors : reports) {
    for (const TensorPoint& tensor : tensors) {
      x.include(tensor.at - 0.5);
      x.include(tensor.at + 0.5);
      if (tensor.error > 0) y.include(tensor.error);
    }
  }
  if (y.empty) return svg_text(kLeft, kTop, "no error was measured");
  round_out(y);
  std::string out = layer_ticks(reports.front(), x);
  for (const double tick : y.ticks()) {
    out += svg_line(kLeft, y.place(tick), kRight, y.place(tick), kGrid);
    out += svg_text(kLeft - 6, y.place(tick) + 4, formatted("%.3g %%", tick * 100), "end", kGray);
  }
  out += frame(x, "Relative error of what each matrix gives, in the order of the file");
  for (std::size_t i = reports.size(); i-- > 0;) {
    for (const TensorPoint& tensor : reports[i]) {
      if (!(tensor.error > 0)) continue;
      const std::string label = tensor.name + ": " + tensor.encoding + ", error " +
                                formatted("%.3g %%", tensor.error * 100);
      out += svg_mark(x.place(tensor.at), y.place(tensor.error), palette.of(tensor.encoding), i > 0,
                      label);
    }
  }
  return out + palette.legend();
}

using SizePoints = std::vector<std::pair<double, double>>;  // MB, damage

SizePoints frontier_of(const QualityReport& report) {
  SizePoints points;
  for (const Json& point : member(member(report.json, "choice"), "frontier")) {
    const double bytes = number_of(point, "bytes"), damage = number_of(point, "damage");
    if (damage > 0 && bytes > 0) points.emplace_back(bytes / 1e6, damage);
  }
  return points;
}

std::string draw_sizes(const std::vector<QualityReport>& reports) {
  Axis x{kSecondLeft, kSecondRight, 0, 1, true}, y{kBottom, kTop, 0, 1, true};
  std::vector<SizePoints> lines;
  for (const QualityReport& report : reports) {
    lines.push_back(frontier_of(report));
    for (const auto& [size, damage] : lines.back()) {
      x.include(size);
      y.include(damage);
    }
  }
  if (x.empty) return "";
  round_out(y);
  std::string out;
  for (const double tick : y.ticks()) {
    out += svg_line(x.from, y.place(tick), x.to, y.place(tick), kGrid);
    out += svg_text(x.from - 6, y.place(tick) + 4, formatted("%.3g", tick), "end", kGray);
  }
  for (const double tick : x.ticks()) {
    out += svg_line(x.place(tick), kTop, x.place(tick), kBottom, kGrid);
    out += svg_text(x.place(tick), kBottom + 14, formatted("%g", tick), "middle", kGray);
  }
  out += svg_text((x.from + x.to) / 2, kBottom + 32, "MB of all matrices", "middle", kGray);
  out += frame(x, "Estimated damage of the best choice of a size, nats");
  for (const SizePoints& line : lines) {
    SizePoints placed;
    for (const auto& [size, damage] : line) placed.emplace_back(x.place(size), y.place(damage));
    if (!placed.empty()) out += svg_path(placed, "#999999");
  }
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const Json& choice = member(reports[i].json, "choice");
    const double size = number_of(choice, "matrix_bytes") / 1e6;
    const double damage = number_of(choice, "damage");
    if (!(damage > 0) || !(size > 0)) continue;
    const std::string label =
        formatted("%.2f MB, ", size) + formatted("%.3g nats estimated", damage);
    out += svg_mark(x.place(size), y.place(damage), "#000000", i > 0, reports[i].name);
    out += svg_text(x.place(size) + 9, y.place(damage) - 4, label);
  }
  return out;
}

/// A line a report: its mark, name, bits and what the comparison found.
std::string draw_titles(const std::vector<QualityReport>& reports) {
  std::string out;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const double y = 26 + 20 * static_cast<double>(i);
    std::string text = quality_summary(reports[i]);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    out += svg_mark(kLeft + 4, y - 5, "#000000", i > 0, reports[i].name);
    out += svg_text(kLeft + 18, y, text, "start", kBold);
  }
  return out;
}

}  // namespace

std::string quality_picture(const std::vector<QualityReport>& reports) {
  char head[200];
  std::snprintf(head, sizeof(head),
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "font-family=\"sans-serif\" font-size=\"11\">\n",
                kWidth, kHeight);
  std::vector<std::vector<TensorPoint>> tensors;
  for (const QualityReport& report : reports) tensors.push_back(tensors_of(report));
  std::string out = head;
  out += svg_box(0, 0, kWidth, kHeight, "white") + draw_titles(reports);
  return out + draw_errors(tensors, Palette(tensors)) + draw_sizes(reports) + "</svg>\n";
}

}  // namespace quern::cli
