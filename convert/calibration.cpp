#include "convert/calibration.h"

#if defined(QUERN_WITH_OPENBLAS)
#include "convert/linear_algebra.h"
#include "convert/observed_model.h"
#endif

namespace quern::convert {

bool can_calibrate() noexcept {
#if defined(QUERN_WITH_OPENBLAS)
  return linear_algebra::load().ok();
#else
  return false;
#endif
}

Result<std::unique_ptr<Calibration>> make_calibration(
    [[maybe_unused]] const SourceModel& source, [[maybe_unused]] const ModelPlan& plan,
    const ConvertOptions& options, [[maybe_unused]] const TokenWindows& windows,
    [[maybe_unused]] const std::shared_ptr<Executor>& executor,
    [[maybe_unused]] const Model* soft) {
#if defined(QUERN_WITH_OPENBLAS)
  QUERN_CHECK(linear_algebra::load());
  QUERN_TRY(made, ObservedModel::create(source, plan, options, windows, executor, soft));
  return std::unique_ptr<Calibration>(std::move(made));
#else
  return Error(ErrorCode::kUnsupported, "this build cannot calibrate: it was made without OpenBLAS")
      .in_file(options.calibration_text)
      .of("calibrate");
#endif
}

}  // namespace quern::convert
