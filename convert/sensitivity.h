/// \file
/// How much each matrix matters: what a model answers when one of them alone loses bits.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "convert/choice_notes.h"
#include "convert/input_noise.h"
#include "convert/sample_text.h"
#include "convert/source_model.h"
#include "convert/tensor_stream.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Damage (OutputDistance) per unit of relative squared error, by canonical name: of the outputs
/// Σ|(W − V)x|² / Σ|Wx|² where inputs x were observed, else of the weights ‖W − V‖² / ‖W‖².
using Sensitivities = std::map<std::string, double, std::less<>>;

/// The windows to measure on, made from the model in 8 bits.
using MakeWindows = std::function<Result<TokenWindows>(const Model& model)>;

/// The source in 8 bits, in memory, of which one matrix after the other gets several times the
/// error that qr3 would make in it, and how far its answers move then, less what they move because
/// the inputs of later products are rounded anew. Memory: a byte a weight and one tensor. Thread
/// rule: one owner.
class SensitivityMeter {
 public:
  /// Errors: those of conversion and session; kUnsupported for a model that neither a Session nor
  /// an Encoder runs.
  /// \param notes of an interrupted run; outlives the meter.
  static Result<std::unique_ptr<SensitivityMeter>> create(const SourceModel& source,
                                                          const MakeWindows& windows,
                                                          const std::shared_ptr<Executor>& executor,
                                                          ChoiceNotes& notes);
  virtual ~SensitivityMeter() = default;

  /// The source in 8 bits, whose values are disturbed only while `measure` reads its answers.
  virtual const Model& soft_model() const noexcept = 0;

  /// Of one tensor of the source. \param calibration may be null. Errors: as `create`, the
  /// calibration's, kCancelled.
  virtual Result<double> measure(std::string_view tensor, Calibration* calibration,
                                 ProgressMeter& meter) = 0;
  /// Of all inputs of matrices, on the same windows.
  virtual Result<InputNoises> input_noise(ProgressMeter& meter) = 0;
};

}  // namespace quern::convert
