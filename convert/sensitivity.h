/// \file
/// How much each matrix matters: what a model answers when one of them alone loses bits.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "convert/sample_text.h"
#include "convert/source_model.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Damage (OutputDistance) per unit of relative squared error ‖W − V‖² / ‖W‖², by canonical name.
using Sensitivities = std::map<std::string, double, std::less<>>;

/// The windows to measure on, made from the model in 8 bits.
using MakeWindows = std::function<Result<TokenWindows>(const Model& model)>;

/// Converts the source into memory as qr8, gives one matrix after the other the codes that qr4
/// would have (they are qr8 codes too), measures how far the answers move, and puts it back.
/// Memory: a byte a weight and one tensor. Errors: those of conversion and session; kUnsupported
/// for a model that neither a Session nor an Encoder runs; kCancelled.
Result<Sensitivities> measure_sensitivities(const SourceModel& source, const MakeWindows& windows,
                                            const std::shared_ptr<Executor>& executor,
                                            const Progress& progress);

}  // namespace quern::convert
