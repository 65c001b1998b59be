#include "quality_table.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace quern::cli {
namespace {

/// What a report says of one tensor; a field that is not there reads as an empty cell.
struct Cells {
  std::string encoding, bits, error, weighted, compounded;
};

std::string number(const Json& object, const char* key, const char* format) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), format, found->get<double>());
  return text;
}

std::string word(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "-";
}

Cells cells_of(const Json& tensor) {
  return {word(tensor, "encoding"), number(tensor, "bits", "%.2f"),
          number(tensor, "relative_error", "%.5f"), number(tensor, "weighted_error", "%.5f"),
          number(tensor, "compounded_error", "%.5f")};
}

const Json& tensors_of(const QualityReport& report) {
  static const Json none = Json::array();
  const auto found = report.json.find("tensors");
  return found != report.json.end() && found->is_array() ? *found : none;
}

void append(std::string& out, const char* format, const std::string& text) {
  char cell[160];
  std::snprintf(cell, sizeof(cell), format, text.c_str());
  out += cell;
}

}  // namespace

std::string quality_summary(const QualityReport& report) {
  const Json& json = report.json;
  std::string text =
      report.name + ": " + number(json, "bits_per_weight", "%.3f") + " bits per weight";
  const auto compared = json.find("comparison");
  if (compared == json.end() || !compared->is_object()) return text + ", not compared\n";
  if (compared->contains("cosine")) {
    const Json& cosine = (*compared)["cosine"];
    return text + ", cosine of embeddings mean " + number(cosine, "mean", "%.6f") + ", least " +
           number(cosine, "least", "%.6f") + "\n";
  }
  const Json none = Json::object();
  const auto kl = compared->find("kl_divergence");
  const Json& divergence = kl != compared->end() && kl->is_object() ? *kl : none;
  return text + ", KL divergence mean " + number(divergence, "mean", "%.6f") + ", 99 % " +
         number(divergence, "p99", "%.6f") + "; same top token " +
         number(*compared, "top1_agreement", "%.4f") + "; perplexity " +
         number(*compared, "perplexity", "%.4f") + " (source " +
         number(*compared, "source_perplexity", "%.4f") + ")\n";
}

std::string quality_table(const std::vector<QualityReport>& reports) {
  std::vector<std::string> names;  // In the order of the first file that has them.
  std::vector<std::map<std::string, Cells>> columns;
  bool compounds = false;  // Whether any source had been quantized before.
  for (const QualityReport& report : reports) {
    auto& column = columns.emplace_back();
    for (const Json& tensor : tensors_of(report)) {
      const std::string name = word(tensor, "name");
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      column[name] = cells_of(tensor);
      compounds = compounds || tensor.contains("compounded_error");
    }
  }
  std::string out;
  append(out, "%-28s", "tensor");
  for (std::size_t i = 0; i < reports.size(); ++i) {
    append(out, "  %-8s", "encoding");
    append(out, " %6s", "bits");
    append(out, " %9s", "error");
    append(out, " %9s", "weighted");
    if (compounds) append(out, " %9s", "in all");
  }
  out += "\n";
  for (const std::string& name : names) {
    append(out, "%-28s", name);
    for (auto& column : columns) {
      const Cells& cells = column[name];
      append(out, "  %-8s", cells.encoding);
      append(out, " %6s", cells.bits);
      append(out, " %9s", cells.error);
      append(out, " %9s", cells.weighted);
      if (compounds) append(out, " %9s", cells.compounded);
    }
    out += "\n";
  }
  for (const QualityReport& report : reports) out += quality_summary(report);
  return out;
}

}  // namespace quern::cli
