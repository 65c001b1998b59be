#include "convert/source_errors.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "convert/aligned_bytes.h"
#include "formats/json.h"

namespace quern::convert {
namespace {

constexpr std::int64_t kCols = 1024;  ///< Of the panel on which an encoding's error is measured.
constexpr int kSummed = 12;           ///< Uniform numbers whose sum is nearly normal.

/// Numbers that are spread like weights: nearly normal, always the same.
std::vector<float> normal_panel() {
  std::vector<float> values(static_cast<std::size_t>(quant::kPanelRows * kCols));
  std::uint64_t state = 1;
  for (float& value : values) {
    std::uint64_t sum = 0;
    for (int i = 0; i < kSummed; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += state >> 40;
    }
    value = static_cast<float>(sum) / static_cast<float>(1u << 24) - 0.5F * kSummed;
  }
  return values;
}

/// The relative error of normal numbers in an encoding; nullopt for one that quern cannot make.
std::optional<double> typical_error(Encoding encoding) {
  const quant::EncodingOps* ops = quant::find_ops(encoding);
  if (ops == nullptr || ops->quantize_panel == nullptr) return std::nullopt;
  const std::vector<float> values = normal_panel();
  std::vector<float> stored(values.size());
  AlignedBytes panel(panel_bytes(*find_encoding(encoding), kCols).value_or(0));
  ops->quantize_panel(values.data(), kCols, {}, panel.data());
  ops->dequantize_panel(panel.data(), kCols, stored.data());
  double square = 0, error = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto was = static_cast<double>(values[i]);
    const double change = was - static_cast<double>(stored[i]);
    square += was * was;
    error += change * change;
  }
  return std::sqrt(error / square);
}

/// What a source's tensors have lost: as its own report says, else as their encodings lose.
class Losses {
 public:
  explicit Losses(const SourceModel& source) {
    const auto report = formats::parse_json(source.quality_report(), source.path());
    if (!report.ok()) return;  // There is none, or none that says anything.
    for (const formats::Json& tensor : (*report)["tensors"]) {
      for (const char* key : {"compounded_error", "relative_error"}) {
        const formats::Json& error = tensor[std::string_view(key)];
        if (!error.is_number()) continue;
        told_[tensor["name"].string()] = error.number();
        break;
      }
    }
  }

  void note(const MatrixJob& matrix, PlannedTensor& shown) {
    const auto told = told_.find(matrix.source->name);
    if (told != told_.end()) {
      shown.source_error = told->second;
    } else if (is_quantized(matrix.from)) {
      const auto [known, is_new] = typical_.try_emplace(matrix.from);
      if (is_new) known->second = typical_error(matrix.from);
      shown.source_error = known->second;
      shown.source_error_is_estimate = known->second.has_value();
    }
  }

 private:
  std::map<std::string, double> told_;
  std::map<Encoding, std::optional<double>> typical_;
};

}  // namespace

void note_source_errors(const SourceModel& source, ModelPlan& plan) {
  Losses losses(source);
  std::set<std::string> types;
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    const TensorJob& job = plan.jobs[i];
    if (!job.quantizable) continue;
    const MatrixJob& matrix = job.matrices.front();
    losses.note(matrix, plan.shown.tensors[i]);
    if (is_quantized(matrix.from) && is_quantized(matrix.to) && !job.keeps_bits())
      types.insert(std::string(find_encoding(matrix.from)->name));
  }
  if (types.empty()) return;
  std::string names;
  for (const std::string& type : types) names += (names.empty() ? "" : ", ") + type;
  plan.shown.warnings.push_back(
      "the source is quantized already (" + names +
      "): what it has lost adds to what is lost now; the report has both. An original in floats "
      "gives a better file");
}

}  // namespace quern::convert
