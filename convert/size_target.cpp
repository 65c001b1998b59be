#include "convert/size_target.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <span>

#include "convert/calibration.h"
#include "convert/encoding_offers.h"
#include "convert/tensor_plan.h"

namespace quern::convert {
namespace {

constexpr std::size_t kWindows = 2;

/// Elements and bytes of the plan's matrices.
struct Sizes {
  double elements = 0;
  std::uint64_t fixed_bytes = 0;  ///< Of matrices that no encoding is chosen for.
};

Sizes add_up(const ModelPlan& plan) {
  Sizes sizes;
  for (const TensorJob& job : plan.jobs) {
    if (job.is_vector) continue;
    for (const MatrixJob& matrix : job.matrices) {
      sizes.elements += static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
    }
    if (!job.quantizable) sizes.fixed_bytes += job.bytes();
  }
  return sizes;
}

Error too_small(const ConvertOptions& options, std::uint64_t smallest, const Sizes& sizes,
                std::uint64_t other_bytes) {
  Error error(ErrorCode::kOutOfRange, "the model cannot be made so small");
  if (options.target_bytes > 0) {
    return std::move(error)
        .of("target size")
        .want("at least " + std::to_string(smallest + other_bytes) + " bytes")
        .got(std::to_string(options.target_bytes));
  }
  char least[32], asked[32];
  const double bits = 8.0 * static_cast<double>(smallest + sizes.fixed_bytes) / sizes.elements;
  std::snprintf(least, sizeof(least), "%.3f", std::ceil(bits * 1000) / 1000);
  std::snprintf(asked, sizeof(asked), "%.3f", options.target_bits);
  return std::move(error)
      .of("target bits per weight")
      .want("at least " + std::string(least))
      .got(asked);
}

/// Bytes that the matrices may take in all; 0 where not even the rest fits.
std::uint64_t budget_of(const ConvertOptions& options, const Sizes& sizes,
                        std::uint64_t other_bytes) {
  if (options.target_bytes > 0) {
    return options.target_bytes > other_bytes ? options.target_bytes - other_bytes : 0;
  }
  const double bytes = options.target_bits * sizes.elements / 8;
  const auto fixed = static_cast<double>(sizes.fixed_bytes);
  return bytes > fixed ? static_cast<std::uint64_t>(bytes - fixed) : 0;
}

/// Two windows to measure on: of the calibration text, else of what the model itself writes. More
/// of the latter go to `own`, if the model can be calibrated on them.
Result<TokenWindows> windows_for(const Model& model, const ConvertOptions& options,
                                 TokenWindows& own, ProgressMeter& meter) {
  const std::size_t length = window_tokens(model);
  if (!options.calibration_text.empty()) {
    return read_windows(model, options.calibration_text, length, kWindows);
  }
  if (model.is_encoder() || !can_calibrate()) return write_windows(model, length, kWindows, meter);
  QUERN_TRY(written, write_windows(model, length, kOwnWindows, meter));
  own = std::move(written);
  return TokenWindows(own.begin(), own.begin() + kWindows);
}

/// Observes the inputs of all matrices for encodings such as will be offered.
Result<std::unique_ptr<Calibration>> calibrate_for(const SourceModel& source, OutputFormat output,
                                                   const ConvertOptions& options,
                                                   const TokenWindows& own,
                                                   const std::shared_ptr<Executor>& executor,
                                                   const Model& soft) {
  if (options.calibration_text.empty() && own.empty()) return std::unique_ptr<Calibration>();
  const Encoding any =
      output == OutputFormat::kQuern ? Encoding::kQR4 : offered_encodings(output).front();
  QUERN_TRY(plan,
            make_plan(source, OutputFormat::kQuern, {.keep = false, .target = any, .chosen = {}}));
  return make_calibration(source, plan, options, own, executor, &soft);
}

/// What an interrupted run had measured, if it came to the end.
bool recall_all(std::vector<TensorOffers>& tensors, const ChoiceNotes& notes,
                TargetChoice& result) {
  const auto windows = notes.windows();
  if (!windows) return false;
  for (TensorOffers& tensor : tensors) {
    if (!notes.recall(tensor, result.sensitivities[tensor.name])) return false;
  }
  result.own_windows = *windows;
  return true;
}

/// A float source's own bits everywhere, where the budget has room for them: neither weights nor
/// inputs are rounded then, and there is nothing to measure.
std::optional<TargetChoice> keep_all(const ModelPlan& plan, std::span<const TensorOffers> tensors,
                                     std::uint64_t budget) {
  TargetChoice kept;
  auto offers = tensors.begin();
  for (const TensorJob& job : plan.jobs) {
    if (!job.quantizable) continue;
    const Encoding own = job.matrices.front().from;
    const auto offer = std::find_if(offers->offers.begin(), offers->offers.end(),
                                    [&](const EncodingOffer& o) { return o.encoding == own; });
    if (is_quantized(own) || offer == offers->offers.end()) return std::nullopt;
    kept.policy.chosen[job.name] = own;
    kept.chosen.bytes += offer->bytes;
    ++offers;
  }
  if (kept.chosen.bytes > budget) return std::nullopt;
  return kept;
}

/// Turns the offers' errors into damage.
Status estimate_damage(const SourceModel& source, OutputFormat output, const ModelPlan& plan,
                       const ConvertOptions& options, const std::shared_ptr<Executor>& executor,
                       std::vector<TensorOffers>& tensors, ChoiceNotes& notes,
                       TargetChoice& result) {
  if (recall_all(tensors, notes, result)) return {};
  ProgressMeter meter(options.progress, plan.source_bytes);
  const auto windows = [&](const Model& model) {
    return windows_for(model, options, result.own_windows, meter);
  };
  QUERN_TRY(sensitivity, SensitivityMeter::create(source, windows, executor, notes));
  QUERN_CHECK(notes.note_windows(result.own_windows));
  QUERN_TRY(calibration, calibrate_for(source, output, options, result.own_windows, executor,
                                       sensitivity->soft_model()));
  QUERN_TRY(noises, sensitivity->input_noise(meter));
  auto offers = tensors.begin();
  for (const TensorJob& job : plan.jobs) {
    if (!job.quantizable) continue;
    double& weight = result.sensitivities[job.name];
    if (!notes.recall(*offers, weight)) {
      QUERN_TRY(measured, sensitivity->measure(job.name, calibration.get(), meter));
      QUERN_CHECK(estimate_errors(job, *offers, *executor, calibration.get(), meter));
      weight = measured;
      for (EncodingOffer& offer : offers->offers) {
        const double noise = noises[job.name].of(find_encoding(offer.encoding)->rows);
        offer.damage = weight * (offer.damage + noise);
      }
      QUERN_CHECK(notes.note(*offers, weight));
    }
    for (const MatrixJob& matrix : job.matrices) source.release(*matrix.source);
    ++offers;
    QUERN_CHECK(meter.advance(job.bytes()));
  }
  return {};
}

}  // namespace

Result<TargetChoice> choose_for_target(const SourceModel& source, OutputFormat output,
                                       const ConvertOptions& options, std::uint64_t other_bytes,
                                       const std::shared_ptr<Executor>& executor,
                                       ChoiceNotes& notes) {
  QUERN_TRY(plan, make_plan(source, OutputFormat::kQuern, {}));
  const Sizes sizes = add_up(plan);
  std::vector<TensorOffers> tensors;
  for (const TensorJob& job : plan.jobs) {
    if (!job.quantizable) continue;
    QUERN_TRY(offers, list_offers(job, output));
    tensors.push_back(std::move(offers));
  }
  const std::uint64_t budget = budget_of(options, sizes, other_bytes);
  const std::uint64_t smallest = smallest_bytes(tensors);
  if (budget < smallest) return too_small(options, smallest, sizes, other_bytes);
  if (auto kept = keep_all(plan, tensors, budget)) return std::move(*kept);
  TargetChoice result;
  QUERN_CHECK(estimate_damage(source, output, plan, options, executor, tensors, notes, result));
  ChosenEncodings chosen = choose_encodings(tensors, budget);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    result.policy.chosen[tensors[i].name] = chosen.chosen[i].encoding;
  }
  result.chosen = chosen.sum;
  result.frontier = std::move(chosen.frontier);
  return result;
}

}  // namespace quern::convert
