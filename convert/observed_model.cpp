#include "convert/observed_model.h"

#include <algorithm>

#include "convert/error_feedback.h"
#include "convert/model_output.h"
#include "convert/window_reader.h"

namespace quern::convert {
namespace {

constexpr std::size_t kWindows = 40;
/// Moments that are held at a time, unless a single input has more.
constexpr std::uint64_t kBudgetBytes = 192u << 20;

bool is_native(Encoding encoding) { return find_encoding(encoding)->rows == RowFormat::kQ8Rotated; }

/// The source in 8 bits: `soft`, or made anew.
Result<Model> soft_model(const SourceModel& source, const std::shared_ptr<Executor>& executor,
                         const Model* soft) {
  if (soft != nullptr) return *soft;
  return open_in_memory(source, {.keep = false, .target = Encoding::kQR8, .chosen = {}}, executor);
}

}  // namespace

Result<std::unique_ptr<ObservedModel>> ObservedModel::create(
    const SourceModel& source, const ModelPlan& plan, const ConvertOptions& options,
    const TokenWindows& given, const std::shared_ptr<Executor>& executor, const Model* soft) {
  QUERN_TRY(model, soft_model(source, executor, soft));
  TokenWindows windows = given;
  if (windows.empty() && options.calibration_text.empty()) {
    if (model.is_encoder()) return std::unique_ptr<ObservedModel>();  // It writes nothing.
    ProgressMeter meter(options.progress, plan.source_bytes);
    QUERN_TRY(written, write_windows(model, window_tokens(model), kOwnWindows, meter));
    windows = std::move(written);
  }
  if (windows.empty()) {
    QUERN_TRY(read, read_windows(model, options.calibration_text, window_tokens(model), kWindows));
    windows = std::move(read);
  }
  std::unique_ptr<ObservedModel> made(
      new ObservedModel(std::move(model), std::move(windows), executor, options.most_moment_bytes));
  made->choose_inputs(plan);
  return made;
}

void ObservedModel::choose_inputs(const ModelPlan& plan) {
  std::vector<SharedInput> all = find_inputs(model_);
  std::map<std::string, std::size_t, std::less<>> known;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const std::string& weight : all[i].weights) known[weight] = i;
  }
  std::map<std::size_t, std::size_t> taken;  // Index in `all` → in inputs_.
  for (const TensorJob& job : plan.jobs) {
    for (const MatrixJob& matrix : job.matrices) {
      const auto found = known.find(matrix.weight);
      if (!job.quantizable || matrix.keeps_bits() || !is_quantized(matrix.to) ||
          found == known.end()) {
        continue;
      }
      const auto [it, is_new] = taken.try_emplace(found->second, inputs_.size());
      if (is_new) inputs_.push_back({all[found->second], false});
      Input& input = inputs_[it->second];
      input_of_[matrix.weight] = it->second;
      if (wants_all_moments(matrix, input.shared)) input.full = true;
    }
  }
}

/// Whether error feedback can be had for a matrix; a warning where its inputs are too wide for it.
bool ObservedModel::wants_all_moments(const MatrixJob& matrix, const SharedInput& input) {
  if (!is_native(matrix.to)) return false;
  const std::uint64_t bytes =
      SecondMoments::bytes(input, true) / static_cast<std::uint64_t>(input.matrices);
  if (bytes <= most_moment_bytes_) return true;
  if (matrix.expert > 0) return false;  // The first one told it.
  warnings_.push_back(matrix.weight +
                      " is calibrated column by column: the second moments of its " +
                      std::to_string(input.cols) + " inputs take " + std::to_string(bytes) +
                      " bytes, more than " + std::to_string(most_moment_bytes_));
  return false;
}

Result<std::shared_ptr<const MatrixCalibration>> ObservedModel::of(const MatrixJob& job,
                                                                   ProgressMeter& meter) {
  const auto found = input_of_.find(job.weight);
  if (found == input_of_.end() || job.keeps_bits()) {
    return std::shared_ptr<const MatrixCalibration>();
  }
  const std::pair<std::size_t, std::int64_t> key(found->second, job.expert);
  if (key == prepared_key_) return prepared_;
  prepared_.reset();
  const Input& input = inputs_[found->second];
  if (!moments_ || moments_->find(input.shared.weights.front(), 0) == nullptr) {
    QUERN_CHECK(observe_from(found->second, meter));
  }
  prepared_ = prepare(input, job.expert);
  prepared_key_ = key;
  return prepared_;
}

Status ObservedModel::observe_from(std::size_t first, ProgressMeter& meter) {
  moments_.reset();
  SecondMoments& moments = moments_.emplace(executor_->threads());
  std::uint64_t bytes = 0;
  std::size_t last_node = 0;
  for (std::size_t i = first; i < inputs_.size(); ++i) {
    bytes += SecondMoments::bytes(inputs_[i].shared, inputs_[i].full);
    if (i > first && bytes > kBudgetBytes) break;
    moments.add_input(inputs_[i].shared, inputs_[i].full);
    last_node = std::max(last_node, inputs_[i].shared.last_node);
  }
  return read_windows_with(model_, windows_, last_node, moments, executor_, meter);
}

std::shared_ptr<const MatrixCalibration> ObservedModel::prepare(const Input& input,
                                                                std::int64_t expert) {
  const auto sum = moments_->find(input.shared.weights.front(), expert);
  if (sum == nullptr || sum->rows == 0) return nullptr;
  if (input.full) return ErrorFeedback::create(*sum);
  return std::make_shared<ColumnWeights>(
      std::vector<float>(sum->values.begin(), sum->values.end()));
}

}  // namespace quern::convert
