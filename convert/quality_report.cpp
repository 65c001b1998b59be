#include "convert/quality_report.h"

#include <algorithm>
#include <cmath>

namespace quern::convert {
namespace {

using formats::Json;

/// Points of a frontier that a report keeps.
constexpr std::size_t kKeptPoints = 64;

double bits_of(const PlannedTensor& tensor) {
  double elements = 1;
  for (const std::uint64_t dim : tensor.shape) elements *= static_cast<double>(dim);
  return elements > 0 ? 8.0 * static_cast<double>(tensor.bytes) / elements : 0.0;
}

Json describe_tensor(const PlannedTensor& tensor, const TargetChoice* choice) {
  Json json = {{"name", tensor.name},
               {"source_encoding", tensor.source_encoding},
               {"encoding", std::string(find_encoding(tensor.encoding)->name)},
               {"bytes", tensor.bytes},
               {"bits", bits_of(tensor)}};
  if (tensor.relative_error) json["relative_error"] = *tensor.relative_error;
  if (tensor.weighted_error) json["weighted_error"] = *tensor.weighted_error;
  if (tensor.source_error) {
    json["source_error"] = *tensor.source_error;
    if (tensor.source_error_is_estimate) json["source_error_is_estimate"] = true;
    json["compounded_error"] = std::hypot(*tensor.source_error, tensor.relative_error.value_or(0));
  }
  if (choice != nullptr) {
    const auto found = choice->sensitivities.find(tensor.name);
    if (found != choice->sensitivities.end()) json["sensitivity"] = found->second;
  }
  return json;
}

/// Size against estimated damage, thinned out.
Json describe_frontier(const std::vector<SizePoint>& frontier) {
  Json points = Json::array();
  const std::size_t count = std::min(frontier.size(), kKeptPoints);
  for (std::size_t i = 0; i < count; ++i) {
    const SizePoint& point = frontier[count < 2 ? 0 : i * (frontier.size() - 1) / (count - 1)];
    points.push_back({{"bytes", point.bytes}, {"damage", point.damage}});
  }
  return points;
}

Json describe_comparison(const ModelComparison& comparison, const std::string& text) {
  Json json = {{"text", text.substr(text.find_last_of('/') + 1)}};
  if (comparison.texts > 0) {
    json["sentences"] = comparison.texts;
    json["cosine"] = {{"mean", comparison.cosine_mean}, {"least", comparison.cosine_least}};
    return json;
  }
  const LogitsQuality& found = comparison.logits;
  json["tokens"] = found.tokens;
  json["kl_divergence"] = {{"mean", found.kl_mean}, {"p99", found.kl_p99}, {"max", found.kl_max}};
  json["top1_agreement"] = found.top1_agreement;
  json["perplexity"] = found.perplexity;
  json["source_perplexity"] = comparison.source_perplexity;
  return json;
}

}  // namespace

Json make_quality_report(const ModelPlan& plan, const ConvertOptions& options,
                         const TargetChoice* choice, const ModelComparison* comparison) {
  Json report = {{"version", 1}, {"bits_per_weight", plan.shown.bits_per_weight}};
  const bool calibrated =
      std::any_of(plan.shown.tensors.begin(), plan.shown.tensors.end(),
                  [](const PlannedTensor& tensor) { return tensor.weighted_error.has_value(); });
  report["calibrated"] = calibrated;
  if (calibrated && options.calibration_text.empty()) report["own_words"] = true;
  Json tensors = Json::array();
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    if (plan.jobs[i].quantizable) tensors.push_back(describe_tensor(plan.shown.tensors[i], choice));
  }
  report["tensors"] = std::move(tensors);
  if (choice != nullptr) {
    report["choice"] = {{"matrix_bytes", choice->chosen.bytes},
                        {"damage", choice->chosen.damage},
                        {"frontier", describe_frontier(choice->frontier)}};
  }
  if (comparison != nullptr) {
    report["comparison"] = describe_comparison(*comparison, options.evaluation_text);
  }
  return report;
}

std::uint64_t quality_report_room(const ModelPlan& plan) {
  // A tensor's line has under 260 bytes beside its name, 130 more where its source had an error; a
  // point of the frontier has under 80.
  std::uint64_t room = 1024 + 80 * kKeptPoints;
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    if (!plan.jobs[i].quantizable) continue;
    const PlannedTensor& shown = plan.shown.tensors[i];
    room += (shown.source_error ? 390 : 260) + shown.name.size();
  }
  return room;
}

std::uint64_t late_sections_room(const ModelPlan& plan, bool self_test) {
  // A self-test is about 10 KB, the choice of a cache 100 bytes.
  return quality_report_room(plan) + (self_test ? 28672 : 256);
}

}  // namespace quern::convert
