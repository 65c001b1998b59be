/// \file
/// A model that reads windows of tokens while somebody watches its matrix products.
#pragma once

#include <cstddef>
#include <memory>

#include "backends/linear_observer.h"
#include "convert/sample_text.h"
#include "convert/tensor_stream.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Runs each window from an empty state, up to and including node `last_node` of the model's graph.
/// Errors: the engine's; kCancelled.
/// \param windows not empty; none is longer than the first.
Status read_windows_with(const Model& model, const TokenWindows& windows, std::size_t last_node,
                         backends::LinearObserver& observer,
                         const std::shared_ptr<Executor>& executor, ProgressMeter& meter);

}  // namespace quern::convert
