/// \file
/// The source model at work on a text, watched.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "convert/calibration.h"
#include "convert/linear_algebra.h"
#include "convert/sample_text.h"
#include "convert/second_moments.h"
#include "quern/model.h"

namespace quern::convert {

/// Moments of all inputs do not fit in memory: the model reads its text once for as many
/// neighbouring inputs as do, whenever one is asked for that is not there, up to the last of them.
class ObservedModel final : public Calibration {
 public:
  /// \param given windows; empty: those of the calibration text, or
  /// without one what a decoder writes itself; null for an encoder then. \param soft the source in
  /// 8 bits; null: it is made here.
  static Result<std::unique_ptr<ObservedModel>> create(
      const SourceModel& source, const ModelPlan& plan, const ConvertOptions& options,
      const TokenWindows& given, const std::shared_ptr<Executor>& executor, const Model* soft);

  Result<std::shared_ptr<const MatrixCalibration>> of(const MatrixJob& job,
                                                      ProgressMeter& meter) override;
  const std::vector<std::string>& warnings() const noexcept override { return warnings_; }

 private:
  struct Input {
    SharedInput shared;
    bool full = false;  ///< Whether a native encoding wants it.
  };

  ObservedModel(Model model, TokenWindows windows, std::shared_ptr<Executor> executor,
                std::uint64_t most_moment_bytes)
      : most_moment_bytes_(most_moment_bytes),
        model_(std::move(model)),
        windows_(std::move(windows)),
        executor_(std::move(executor)) {}
  void choose_inputs(const ModelPlan& plan);
  bool wants_all_moments(const MatrixJob& matrix, const SharedInput& input);
  Status observe_from(std::size_t first, ProgressMeter& meter);
  std::shared_ptr<const MatrixCalibration> prepare(const Input& input, std::int64_t expert);

  const linear_algebra::OneThread one_thread_;
  const std::uint64_t most_moment_bytes_;
  std::vector<std::string> warnings_;
  Model model_;
  TokenWindows windows_;
  std::shared_ptr<Executor> executor_;
  std::vector<Input> inputs_;  ///< In the order in which matrices are written.
  std::map<std::string, std::size_t, std::less<>> input_of_;  ///< By canonical name.
  std::optional<SecondMoments> moments_;
  std::pair<std::size_t, std::int64_t> prepared_key_{SIZE_MAX, 0};
  std::shared_ptr<const MatrixCalibration> prepared_;
};

}  // namespace quern::convert
