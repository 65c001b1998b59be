/// \file
/// A model that reads windows of tokens while somebody watches its matrix products.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "backends/linear_observer.h"
#include "convert/sample_text.h"
#include "convert/second_moments.h"
#include "convert/tensor_stream.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// All inputs of the products of a model. Nodes of an encoder–decoder's two graphs are numbered
/// through, the source's first.
std::vector<SharedInput> find_inputs(const Model& model);

/// Runs each window from an empty state, up to and including node `last_node` as find_inputs
/// numbers them. An encoder–decoder reads a window's first half as its source and is taught the
/// second. Errors: the engine's; kCancelled; kMissing for a decoder whose start nobody knows.
/// \param windows not empty; all as long as the first, 2 tokens at least.
Status read_windows_with(const Model& model, const TokenWindows& windows, std::size_t last_node,
                         backends::LinearObserver& observer,
                         const std::shared_ptr<Executor>& executor, ProgressMeter& meter);

}  // namespace quern::convert
