/// \file
/// What the source model shows of the inputs of its matrices while it reads a text.
#pragma once

#include <memory>

#include "convert/convert.h"
#include "convert/matrix_calibration.h"
#include "convert/sample_text.h"
#include "convert/source_model.h"
#include "convert/tensor_plan.h"
#include "convert/tensor_stream.h"
#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

/// Whether this build can calibrate: it was made with OpenBLAS.
bool can_calibrate() noexcept;

/// Lets the source, in 8 bits, read windows, and will say what entered each
/// matrix that the plan quantizes. \param windows empty: those of the calibration text,
/// or without one what a decoder writes itself.
/// \param soft the source in 8 bits, where there is one already (a handle: it is not copied).
/// Errors: kUnsupported in a build without OpenBLAS; those of read_windows and of the engine.
Result<std::unique_ptr<Calibration>> make_calibration(const SourceModel& source,
                                                      const ModelPlan& plan,
                                                      const ConvertOptions& options,
                                                      const TokenWindows& windows,
                                                      const std::shared_ptr<Executor>& executor,
                                                      const Model* soft = nullptr);

}  // namespace quern::convert
