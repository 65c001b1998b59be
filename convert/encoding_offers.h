/// \file
/// What each encoding would cost a tensor: bytes, and the error that it makes.
#pragma once

#include <span>
#include <vector>

#include "convert/encoding_choice.h"
#include "convert/encoding_policy.h"
#include "convert/panel_encoder.h"
#include "convert/tensor_stream.h"
#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

/// The encodings between which a choice is made in a file of `output`'s kind.
std::vector<Encoding> offered_encodings(OutputFormat output);
/// The one of them with the fewest bits.
Encoding smallest_encoding(OutputFormat output);

/// One offer per different encoding that the tensor may get: the offered ones (where GGUF's rows do
/// not divide: what takes their place) and the source's own bits. `damage` is 0 in all of them.
Result<TensorOffers> list_offers(const TensorJob& job, OutputFormat output);

/// Fills `damage` with relative squared errors, estimated from panels spread evenly over the
/// tensor, 0 for the source's own bits: of the outputs where the calibration knows the inputs, else
/// ‖W − V‖² / ‖W‖². \param calibration may be null. Errors: PanelEncoder's, the calibration's.
Status estimate_errors(const TensorJob& job, TensorOffers& offers, Executor& executor,
                       Calibration* calibration, ProgressMeter& meter);

}  // namespace quern::convert
