// The picture of quality reports, as SVG 1.1 (https://www.w3.org/TR/SVG11/).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "quality_table.h"

namespace quern::cli {
namespace {

constexpr double kWidth = 1100, kHeight = 420, kTop = 40, kBottom = 370;
constexpr const char* kColours[] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
                                    "#66ccee", "#aa3377", "#888888"};

struct Point {
  double x, y;
  std::string label, colour;
};

/// A plot with a logarithmic y axis between `left` and `right`.
struct Plot {
  double left, right;
  double x_low = 0, x_high = 1, log_low = -4, log_high = 0;

  double place_x(double x) const {
    return left + (x - x_low) / std::max(x_high - x_low, 1e-300) * (right - left);
  }
  double place_y(double y) const {
    const double at = (std::log10(y) - log_low) / std::max(log_high - log_low, 1e-300);
    return kBottom - at * (kBottom - kTop);
  }
};

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
    else
      out += c;
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start") {
  char head[120];
  std::snprintf(head, sizeof(head), "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y,
                anchor);
  return head + escaped(text) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* colour) {
  char text[200];
  std::snprintf(text, sizeof(text),
                "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1,
                x2, y2, colour);
  return text;
}

/// \param square the mark of a second file.
std::string mark(const Plot& plot, const Point& point, bool square) {
  char text[240];
  const double x = plot.place_x(point.x), y = plot.place_y(point.y);
  if (square) {
    std::snprintf(text, sizeof(text),
                  "<rect x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"6\" fill=\"none\" "
                  "stroke=\"%s\"><title>",
                  x - 3, y - 3, point.colour.c_str());
    return text + escaped(point.label) + "</title></rect>\n";
  }
  std::snprintf(text, sizeof(text), "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>",
                x, y, point.colour.c_str());
  return text + escaped(point.label) + "</title></circle>\n";
}

/// Fits the axes to the points, whole decades, and draws them.
std::string frame(Plot& plot, const std::vector<Point>& points, const std::string& title) {
  plot.x_low = plot.x_high = points.front().x;
  double low = points.front().y, high = low;
  for (const Point& point : points) {
    plot.x_low = std::min(plot.x_low, point.x);
    plot.x_high = std::max(plot.x_high, point.x);
    low = std::min(low, point.y);
    high = std::max(high, point.y);
  }
  plot.log_low = std::floor(std::log10(low));
  plot.log_high = std::max(std::ceil(std::log10(high)), plot.log_low + 1);
  std::string out = text_at(plot.left, kTop - 16, title);
  for (double decade = plot.log_low; decade <= plot.log_high; ++decade) {
    const double y = plot.place_y(std::pow(10.0, decade));
    out += line(plot.left, y, plot.right, y, "#dddddd");
    out += text_at(plot.left - 6, y + 4, "1e" + std::to_string(static_cast<int>(decade)), "end");
  }
  return out + line(plot.left, kBottom, plot.right, kBottom, "#333333") +
         line(plot.left, kTop, plot.left, kBottom, "#333333");
}

double number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
}

const Json& member(const Json& object, const char* key) {
  static const Json none;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : none;
}

/// Colours by encoding, in the order in which they are met.
class Palette {
 public:
  std::string of(const std::string& encoding) {
    const auto [at, fresh] = colours_.emplace(encoding, colours_.size() % std::size(kColours));
    if (fresh) order_.push_back(encoding);
    return kColours[at->second];
  }
  std::string legend(double x) const {
    std::string out;
    for (const std::string& encoding : order_) {
      char box[120];
      std::snprintf(box, sizeof(box),
                    "<rect x=\"%.1f\" y=\"395\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x,
                    kColours[colours_.at(encoding)]);
      out += box + text_at(x + 14, 404, encoding);
      x += 80;
    }
    return out;
  }

 private:
  std::map<std::string, std::size_t> colours_;
  std::vector<std::string> order_;
};

std::vector<Point> error_points(const QualityReport& report, Palette& palette) {
  std::vector<Point> points;
  double at = 0;
  for (const Json& tensor : member(report.json, "tensors")) {
    if (!tensor.is_object()) continue;
    const double weighted = number_of(tensor, "weighted_error");
    const double error = weighted > 0 ? weighted : number_of(tensor, "relative_error");
    const Json& encoding = member(tensor, "encoding");
    const std::string word = encoding.is_string() ? encoding.get<std::string>() : "?";
    const Json& name = member(tensor, "name");
    char value[32];
    std::snprintf(value, sizeof(value), " %.5f", error);
    if (error > 0) {
      points.push_back({at, error,
                        (name.is_string() ? name.get<std::string>() : "?") + " " + word + value,
                        palette.of(word)});
    }
    ++at;
  }
  return points;
}

std::vector<Point> frontier_points(const QualityReport& report) {
  std::vector<Point> points;
  for (const Json& point : member(member(report.json, "choice"), "frontier")) {
    const double bytes = number_of(point, "bytes"), damage = number_of(point, "damage");
    if (damage > 0) points.push_back({bytes / 1e6, damage, "", "#bbbbbb"});
  }
  return points;
}

std::string draw_errors(const std::vector<QualityReport>& reports) {
  Palette palette;
  std::vector<std::vector<Point>> series;
  std::vector<Point> all;
  for (const QualityReport& report : reports) {
    series.push_back(error_points(report, palette));
    all.insert(all.end(), series.back().begin(), series.back().end());
  }
  if (all.empty()) return text_at(70, kTop, "no error was measured");
  Plot plot{70, 640};
  std::string out = frame(plot, all, "relative error per tensor, in the order of the file");
  for (std::size_t i = 0; i < series.size(); ++i) {
    for (const Point& point : series[i]) out += mark(plot, point, i > 0);
  }
  return out + palette.legend(70);
}

std::string draw_sizes(const std::vector<QualityReport>& reports) {
  std::vector<Point> all;
  std::vector<Point> chosen;
  for (const QualityReport& report : reports) {
    const std::vector<Point> points = frontier_points(report);
    all.insert(all.end(), points.begin(), points.end());
    const Json& choice = member(report.json, "choice");
    const double damage = number_of(choice, "damage");
    if (damage > 0) {
      chosen.push_back({number_of(choice, "matrix_bytes") / 1e6, damage, report.name, "#ee6677"});
    }
  }
  if (all.empty()) return "";
  Plot plot{730, 1080};
  std::string out = frame(plot, all, "estimated damage (nats) against MB of matrices");
  for (const Point& point : all) out += mark(plot, point, false);
  for (const Point& point : chosen) {
    out += mark(plot, point, false);
    out += text_at(plot.place_x(point.x) + 6, plot.place_y(point.y) - 6, point.label);
  }
  char low[32], high[32];
  std::snprintf(low, sizeof(low), "%.1f", plot.x_low);
  std::snprintf(high, sizeof(high), "%.1f", plot.x_high);
  return out + text_at(plot.left, kBottom + 16, low) +
         text_at(plot.right, kBottom + 16, high, "end");
}

}  // namespace

std::string quality_picture(const std::vector<QualityReport>& reports) {
  char head[200];
  std::snprintf(head, sizeof(head),
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "font-family=\"sans-serif\" font-size=\"11\">\n",
                kWidth, kHeight);
  std::string out = head;
  out += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  return out + draw_errors(reports) + draw_sizes(reports) + "</svg>\n";
}

}  // namespace quern::cli
