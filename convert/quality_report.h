/// \file
/// The quality report of a quantized file: the `QREP` section, and what is printed.
#pragma once

#include <optional>
#include <string>

#include "convert/model_comparison.h"
#include "convert/size_target.h"
#include "convert/tensor_plan.h"
#include "formats/json.h"

namespace quern::convert {

/// \param choice, comparison null where there was none. \return the section's object
/// (formats/FORMAT.md, "Quality report").
formats::Json make_quality_report(const ModelPlan& plan, const ConvertOptions& options,
                                  const TargetChoice* choice, const ModelComparison* comparison);

/// Room that a report may take.
std::uint64_t quality_report_room(const ModelPlan& plan);
/// Room that the sections behind the data (report, self-test) may take in a file of a wanted size.
std::uint64_t late_sections_room(const ModelPlan& plan, bool self_test);

}  // namespace quern::convert
