#include "convert/sensitivity.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "convert/aligned_bytes.h"
#include "convert/model_output.h"
#include "convert/output_distance.h"
#include "convert/parallel.h"
#include "convert/tensor_plan.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

/// Of how far the answers moved: no matrix is without any effect.
constexpr double kLeastSignal = 0.02;
/// A matrix is disturbed by so many times the error of its coarse codes, since what re-rounding
/// moves differs from one disturbance to the next by as much as good codes of one matrix move.
constexpr double kAmplified = 3;
/// Answers that moved further (nats, or relative squares) are no small disturbance any more.
constexpr double kMostMoved = 0.1;
constexpr Encoding kCoarse = Encoding::kQR3, kFine = Encoding::kQR6;

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

  /// Writes the tensor's values with `times` the error that they would have in `encoding` to `to`,
  /// as many bytes as bytes_of(job). \return what that changes.
  Result<QuantizationError> disturb(const TensorJob& job, Encoding encoding, double times,
                                    std::span<std::byte> to, Calibration* calibration,
                                    ProgressMeter& meter) {
    QuantizationError sum;
    for (const MatrixJob& matrix : job.matrices) {
      MatrixJob coarse = matrix;
      coarse.to = encoding;
      std::shared_ptr<const MatrixCalibration> known;
      if (calibration != nullptr) {
        QUERN_TRY(found, calibration->of(coarse, meter));
        known = std::move(found);
      }
      QUERN_TRY(change, disturb_matrix(coarse, times, to.first(matrix.bytes()), known.get()));
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

  Result<QuantizationError> disturb_matrix(const MatrixJob& coarse, double times,
                                           std::span<std::byte> to,
                                           const MatrixCalibration* calibration) {
    std::vector<Bench> benches;
    for (int i = 0; i < executor_->threads(); ++i) {
      benches.push_back(
          {PanelEncoder(coarse, calibration), AlignedBytes(coarse.panel_bytes(0)),
           std::vector<float>(static_cast<std::size_t>(quant::kPanelRows * coarse.cols))});
    }
    std::vector<QuantizationError> changes(static_cast<std::size_t>(coarse.panels()));
    const auto& fine_ops = *quant::find_ops(Encoding::kQR8);
    const auto& coarse_ops = *quant::find_ops(coarse.to);
    const std::size_t fine_bytes = to.size() / changes.size();
    const auto disturb_panel = [&](std::size_t i, int thread) -> Status {
      Bench& bench = benches[static_cast<std::size_t>(thread)];
      QUERN_CHECK(bench.encoder.encode(static_cast<std::int64_t>(i), bench.coarse.data()));
      changes[i] = bench.encoder.error(bench.coarse.data());
      coarse_ops.dequantize_panel(bench.coarse.data(), coarse.cols, bench.values.data());
      const std::span<const float> exact = bench.encoder.values();
      for (std::size_t k = 0; k < exact.size(); ++k) {
        bench.values[k] = exact[k] + static_cast<float>(times) * (bench.values[k] - exact[k]);
      }
      fine_ops.quantize_panel(bench.values.data(), coarse.cols, {}, to.data() + i * fine_bytes);
      return {};
    };
    QUERN_CHECK(run_parallel(*executor_, changes.size(), disturb_panel));
    QuantizationError sum;
    for (const QuantizationError& change : changes) sum += change;
    sum.error *= times * times;
    sum.outputs.error *= times * times;
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
        std::shared_ptr<Executor> executor, ChoiceNotes& notes)
      : soft_(std::move(soft)),
        windows_(std::move(windows)),
        distance_(std::move(distance)),
        executor_(std::move(executor)),
        notes_(notes) {}

  const Model& soft_model() const noexcept override { return soft_.model(); }

  Result<double> measure(std::string_view tensor, Calibration* calibration,
                         ProgressMeter& meter) override {
    const auto jobs = soft_.jobs();
    const auto job = std::find_if(jobs.begin(), jobs.end(),
                                  [&](const TensorJob& other) { return other.name == tensor; });
    if (job == jobs.end()) return 0.0;
    QUERN_CHECK(distance_.expect_change_of(tensor));
    QUERN_TRY(coarse, disturb(*job, kCoarse, kAmplified, calibration, meter));
    if (coarse.moved > kMostMoved) {
      QUERN_TRY(smaller, disturb(*job, kCoarse, 1.0, calibration, meter));
      coarse = smaller;
    }
    if (!(coarse.change > 0)) return 0.0;
    QUERN_TRY(floor, floor_below(*job, coarse, calibration, meter));
    const double signal = std::max(coarse.moved - floor, kLeastSignal * coarse.moved);
    return signal / coarse.change;
  }

  Result<InputNoises> input_noise(ProgressMeter& meter) override {
    return measure_input_noise(soft_.model(), windows_, executor_, meter);
  }

 private:
  /// What one disturbance changed in a tensor (relative square), and how far the answers moved.
  struct Disturbance {
    double change = 0, moved = 0;
  };

  /// Tensors of one layer have one floor.
  static std::string layer_of(std::string_view tensor) {
    const std::size_t end = tensor.find('.', tensor.find('.') + 1);
    return std::string(tensor.substr(0, end));
  }

  /// The floor of the tensor's layer, measured on the first of them.
  Result<double> floor_below(const TensorJob& job, const Disturbance& coarse,
                             Calibration* calibration, ProgressMeter& meter) {
    const std::string layer = layer_of(job.name);
    const auto known = floors_.find(layer);
    if (known != floors_.end()) return known->second;
    const std::string name = "floor of " + layer;
    std::optional<double> floor = notes_.number(name);
    if (!floor) {
      QUERN_TRY(fine, disturb(job, kFine, 1.0, calibration, meter));
      floor = floor_of(coarse, fine);
      QUERN_CHECK(notes_.note_number(name, *floor));
    }
    floors_[layer] = *floor;
    return *floor;
  }

  /// Whatever changes in a layer, the codes of all later activations are rounded anew, and the
  /// answers move by that alone. Of two disturbances this is what does not grow with the change.
  static double floor_of(const Disturbance& coarse, const Disturbance& fine) {
    if (!(coarse.change > fine.change)) return 0;
    const double floor =
        (fine.moved * coarse.change - coarse.moved * fine.change) / (coarse.change - fine.change);
    return std::clamp(floor, 0.0, fine.moved);
  }

  Result<Disturbance> disturb(const TensorJob& job, Encoding encoding, double times,
                              Calibration* calibration, ProgressMeter& meter) {
    const std::span<std::byte> bytes = soft_.bytes_of(job);
    AlignedBytes disturbed(bytes.size());  // Apart: the calibration may still let the model run.
    const std::span<std::byte> other(disturbed.data(), bytes.size());
    QUERN_TRY(change, soft_.disturb(job, encoding, times, other, calibration, meter));
    std::swap_ranges(bytes.begin(), bytes.end(), other.begin());
    const auto moved = distance_.measure();
    std::swap_ranges(bytes.begin(), bytes.end(), other.begin());
    if (!moved.ok()) return moved.error();
    return Disturbance{change.relative_square(), *moved};
  }

  SoftModel soft_;
  TokenWindows windows_;
  OutputDistance distance_;
  std::shared_ptr<Executor> executor_;
  ChoiceNotes& notes_;
  std::map<std::string, double> floors_;  ///< By layer.
};

}  // namespace

Result<std::unique_ptr<SensitivityMeter>> SensitivityMeter::create(
    const SourceModel& source, const MakeWindows& windows,
    const std::shared_ptr<Executor>& executor, ChoiceNotes& notes) {
  QUERN_TRY(soft, SoftModel::create(source, executor));
  QUERN_TRY(text, windows(soft.model()));
  QUERN_TRY(distance, OutputDistance::create(soft.model(), text));
  return std::unique_ptr<SensitivityMeter>(std::make_unique<Meter>(
      std::move(soft), std::move(text), std::move(distance), executor, notes));
}

}  // namespace quern::convert
