/// \file
/// What a source that is quantized already has lost.
#pragma once

#include "convert/source_model.h"
#include "convert/tensor_plan.h"

namespace quern::convert {

/// Notes in the plan what the source's matrices have lost before (PlannedTensor::source_error), and
/// a warning where some lose again.
void note_source_errors(const SourceModel& source, ModelPlan& plan);

}  // namespace quern::convert
