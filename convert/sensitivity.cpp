#include "convert/sensitivity.h"

#include <algorithm>
#include <vector>

#include "convert/aligned_bytes.h"
#include "convert/model_output.h"
#include "convert/output_distance.h"
#include "convert/parallel.h"
#include "convert/tensor_plan.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

/// The source in 8 bits, in memory that can be written to while a model reads it.
class SoftModel {
 public:
  static Result<SoftModel> create(const SourceModel& source,
                                  const std::shared_ptr<Executor>& executor) {
    SoftModel made;
    made.executor_ = executor;
    QUERN_TRY(plan, make_plan(source, OutputFormat::kQuern,
                              {.keep = false, .target = Encoding::kQR8, .chosen = {}}));
    made.plan_ = std::move(plan);
    QUERN_TRY(image, write_into_memory(source, made.plan_, *executor));
    made.image_ = std::make_shared<formats::MemoryImage>(std::move(image));
    const std::span<const std::byte> bytes = std::as_const(*made.image_).bytes();
    ModelOptions options;
    options.executor = executor;
    QUERN_TRY(model, Model::from_memory(made.image_, bytes, source.path(), options));
    made.model_.emplace(std::move(model));
    return made;
  }

  const Model& model() const { return *model_; }
  std::span<const TensorJob> jobs() const { return plan_.jobs; }

  std::span<std::byte> bytes_of(const TensorJob& job) {
    for (const TensorInfo& tensor : model_->tensors()) {
      if (tensor.name == job.name) return image_->bytes().subspan(tensor.offset, tensor.bytes);
    }
    return {};
  }

  /// Gives the tensor at `to` the values that qr4 would have. \return what that changes.
  Result<QuantizationError> disturb(const TensorJob& job, std::span<std::byte> to,
                                    Calibration* calibration, ProgressMeter& meter) {
    QuantizationError sum;
    for (const MatrixJob& matrix : job.matrices) {
      MatrixJob coarse = matrix;
      coarse.to = Encoding::kQR4;
      std::shared_ptr<const MatrixCalibration> known;
      if (calibration != nullptr) {
        QUERN_TRY(found, calibration->of(coarse, meter));
        known = std::move(found);
      }
      QUERN_TRY(change, disturb_matrix(coarse, to.first(matrix.bytes()), known.get()));
      to = to.subspan(matrix.bytes());
      sum += change;
    }
    return sum;
  }

 private:
  /// What one thread works with.
  struct Bench {
    PanelEncoder encoder;
    AlignedBytes coarse;
    std::vector<float> values;
  };

  SoftModel() = default;

  Result<QuantizationError> disturb_matrix(const MatrixJob& coarse, std::span<std::byte> to,
                                           const MatrixCalibration* calibration) {
    std::vector<Bench> benches;
    for (int i = 0; i < executor_->threads(); ++i) {
      benches.push_back(
          {PanelEncoder(coarse, calibration), AlignedBytes(coarse.panel_bytes(0)),
           std::vector<float>(static_cast<std::size_t>(quant::kPanelRows * coarse.cols))});
    }
    std::vector<QuantizationError> changes(static_cast<std::size_t>(coarse.panels()));
    const auto& fine_ops = *quant::find_ops(Encoding::kQR8);
    const auto& coarse_ops = *quant::find_ops(Encoding::kQR4);
    const std::size_t fine_bytes = to.size() / changes.size();
    const auto disturb_panel = [&](std::size_t i, int thread) -> Status {
      Bench& bench = benches[static_cast<std::size_t>(thread)];
      QUERN_CHECK(bench.encoder.encode(static_cast<std::int64_t>(i), bench.coarse.data()));
      changes[i] = bench.encoder.error(bench.coarse.data());
      coarse_ops.dequantize_panel(bench.coarse.data(), coarse.cols, bench.values.data());
      fine_ops.quantize_panel(bench.values.data(), coarse.cols, {}, to.data() + i * fine_bytes);
      return {};
    };
    QUERN_CHECK(run_parallel(*executor_, changes.size(), disturb_panel));
    QuantizationError sum;
    for (const QuantizationError& change : changes) sum += change;
    return sum;
  }

  std::shared_ptr<Executor> executor_;
  ModelPlan plan_;
  std::shared_ptr<formats::MemoryImage> image_;
  std::optional<Model> model_;
};

class Meter final : public SensitivityMeter {
 public:
  Meter(SoftModel soft, TokenWindows windows, OutputDistance distance,
        std::shared_ptr<Executor> executor)
      : soft_(std::move(soft)),
        windows_(std::move(windows)),
        distance_(std::move(distance)),
        executor_(std::move(executor)) {}

  Result<double> measure(std::string_view tensor, Calibration* calibration,
                         ProgressMeter& meter) override {
    const auto jobs = soft_.jobs();
    const auto job = std::find_if(jobs.begin(), jobs.end(),
                                  [&](const TensorJob& other) { return other.name == tensor; });
    if (job == jobs.end()) return 0.0;
    const std::span<std::byte> bytes = soft_.bytes_of(*job);
    saved_.assign(bytes.begin(), bytes.end());
    QUERN_TRY(change, soft_.disturb(*job, bytes, calibration, meter));
    QUERN_TRY(moved, distance_.measure());
    std::copy(saved_.begin(), saved_.end(), bytes.begin());
    return change.relative_square() > 0 ? moved / change.relative_square() : 0.0;
  }

  Result<InputNoises> input_noise(ProgressMeter& meter) override {
    return measure_input_noise(soft_.model(), windows_, executor_, meter);
  }

 private:
  SoftModel soft_;
  TokenWindows windows_;
  OutputDistance distance_;
  std::shared_ptr<Executor> executor_;
  std::vector<std::byte> saved_;
};

}  // namespace

Result<std::unique_ptr<SensitivityMeter>> SensitivityMeter::create(
    const SourceModel& source, const MakeWindows& windows,
    const std::shared_ptr<Executor>& executor) {
  QUERN_TRY(soft, SoftModel::create(source, executor));
  QUERN_TRY(text, windows(soft.model()));
  QUERN_TRY(distance, OutputDistance::create(soft.model(), text));
  return std::unique_ptr<SensitivityMeter>(
      std::make_unique<Meter>(std::move(soft), std::move(text), std::move(distance), executor));
}

}  // namespace quern::convert
