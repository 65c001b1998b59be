/// \file
/// From a wanted size to an encoding for every tensor, by what was measured on the model itself.
#pragma once

#include <memory>

#include "convert/choice_notes.h"
#include "convert/convert.h"
#include "convert/encoding_choice.h"
#include "convert/encoding_policy.h"
#include "convert/sensitivity.h"
#include "convert/source_model.h"

namespace quern::convert {

/// What was chosen and what it rests on.
struct TargetChoice {
  EncodingPolicy policy;  ///< With an encoding for every matrix.
  Sensitivities sensitivities;
  /// What the model wrote, to be calibrated on; empty where there is a text, and for encoders.
  TokenWindows own_windows;
  SizePoint chosen;                 ///< Matrices alone, estimated damage.
  std::vector<SizePoint> frontier;  ///< Likewise, of all sizes.
};

/// Measures how much each matrix matters (on the calibration text, else on what the model itself
/// writes, on which a decoder is calibrated then), estimates each encoding's error in it, and
/// chooses. \param other_bytes of the file beside its matrices. \param notes what is found there is
/// not measured again. Errors: kOutOfRange with the smallest
/// size or bits that can be had; those of SensitivityMeter, make_calibration and estimate_errors.
Result<TargetChoice> choose_for_target(const SourceModel& source, OutputFormat output,
                                       const ConvertOptions& options, std::uint64_t other_bytes,
                                       const std::shared_ptr<Executor>& executor,
                                       ChoiceNotes& notes);

}  // namespace quern::convert
