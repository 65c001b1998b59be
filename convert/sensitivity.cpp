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

/// What one panel adds to ‖W‖² and ‖W − V‖².
struct PanelChange {
  double square = 0, error = 0;
};

PanelChange compare(const std::vector<float>& was, const std::vector<float>& is) {
  PanelChange change;
  for (std::size_t i = 0; i < was.size(); ++i) {
    const double w = static_cast<double>(was[i]), d = static_cast<double>(is[i]) - w;
    change.square += w * w;
    change.error += d * d;
  }
  return change;
}

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

  /// Gives the tensor at `to` the values that qr4 would have. \return ‖W − V‖² / ‖W‖².
  Result<double> disturb(const TensorJob& job, std::span<std::byte> to) {
    PanelChange sum;
    for (const MatrixJob& matrix : job.matrices) {
      QUERN_TRY(change, disturb_matrix(matrix, to.first(matrix.bytes())));
      to = to.subspan(matrix.bytes());
      sum.square += change.square;
      sum.error += change.error;
    }
    return sum.square > 0 ? sum.error / sum.square : 0.0;
  }

 private:
  /// What one thread works with.
  struct Bench {
    PanelEncoder encoder;
    AlignedBytes coarse;
    std::vector<float> was, is;
  };

  SoftModel() = default;

  Result<PanelChange> disturb_matrix(const MatrixJob& matrix, std::span<std::byte> to) {
    MatrixJob coarse = matrix;
    coarse.to = Encoding::kQR4;
    const auto values = static_cast<std::size_t>(quant::kPanelRows * matrix.cols);
    std::vector<Bench> benches;
    for (int i = 0; i < executor_->threads(); ++i) {
      benches.push_back({PanelEncoder(coarse), AlignedBytes(coarse.panel_bytes(0)),
                         std::vector<float>(values), std::vector<float>(values)});
    }
    std::vector<PanelChange> changes(static_cast<std::size_t>(matrix.panels()));
    const auto& fine_ops = *quant::find_ops(Encoding::kQR8);
    const auto& coarse_ops = *quant::find_ops(Encoding::kQR4);
    const auto disturb_panel = [&](std::size_t i, int thread) -> Status {
      Bench& bench = benches[static_cast<std::size_t>(thread)];
      std::byte* panel = to.data() + i * matrix.panel_bytes(0);
      QUERN_CHECK(bench.encoder.encode(static_cast<std::int64_t>(i), bench.coarse.data()));
      coarse_ops.dequantize_panel(bench.coarse.data(), matrix.cols, bench.is.data());
      fine_ops.dequantize_panel(panel, matrix.cols, bench.was.data());
      changes[i] = compare(bench.was, bench.is);
      fine_ops.quantize_panel(bench.is.data(), matrix.cols, {}, panel);
      return {};
    };
    QUERN_CHECK(run_parallel(*executor_, changes.size(), disturb_panel));
    PanelChange sum;
    for (const PanelChange& change : changes) {
      sum.square += change.square;
      sum.error += change.error;
    }
    return sum;
  }

  std::shared_ptr<Executor> executor_;
  ModelPlan plan_;
  std::shared_ptr<formats::MemoryImage> image_;
  std::optional<Model> model_;
};

}  // namespace

Result<Sensitivities> measure_sensitivities(const SourceModel& source, const MakeWindows& windows,
                                            const std::shared_ptr<Executor>& executor,
                                            const Progress& progress) {
  QUERN_TRY(soft, SoftModel::create(source, executor));
  QUERN_TRY(text, windows(soft.model()));
  QUERN_TRY(distance, OutputDistance::create(soft.model(), std::move(text)));
  Sensitivities found;
  std::vector<std::byte> saved;
  std::uint64_t done = 0;
  for (const TensorJob& job : soft.jobs()) {
    if (job.quantizable) {
      const std::span<std::byte> bytes = soft.bytes_of(job);
      saved.assign(bytes.begin(), bytes.end());
      QUERN_TRY(error, soft.disturb(job, bytes));
      QUERN_TRY(moved, distance.measure());
      std::copy(saved.begin(), saved.end(), bytes.begin());
      found[job.name] = error > 0 ? moved / error : 0.0;
    }
    if (progress && !progress(++done, soft.jobs().size())) {
      return Error(ErrorCode::kCancelled, "the measurement was cancelled");
    }
  }
  return found;
}

}  // namespace quern::convert
