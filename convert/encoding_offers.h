/// \file
/// What each encoding would cost a tensor: bytes, and the error of its weights.
#pragma once

#include <span>
#include <vector>

#include "convert/encoding_choice.h"
#include "convert/encoding_policy.h"
#include "convert/panel_encoder.h"
#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

/// The encodings between which a choice is made in a file of `output`'s kind.
std::vector<Encoding> offered_encodings(OutputFormat output);

/// One offer per different encoding that the tensor may get: the offered ones (where GGUF's rows do
/// not divide: what takes their place) and the source's own bits. `damage` is ‖W − V‖² / ‖W‖²,
/// estimated from panels spread evenly over the tensor; 0 for the source's own. Errors:
/// PanelEncoder's.
Result<TensorOffers> make_offers(const TensorJob& job, OutputFormat output, Executor& executor);

}  // namespace quern::convert
