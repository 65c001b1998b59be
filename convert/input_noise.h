/// \file
/// What a model's inputs of products lose when they are rounded to 8 bits.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "convert/sample_text.h"
#include "convert/tensor_stream.h"
#include "quern/encoding.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Σ‖x − x₈‖² / Σ‖x‖² of what enters a matrix, in the formats in which encodings have it.
struct InputNoise {
  double rotated = 0, grouped = 0;

  double of(RowFormat rows) const noexcept;
};

/// By canonical name of the matrix.
using InputNoises = std::map<std::string, InputNoise, std::less<>>;

/// Lets the model read the windows and rounds what enters each product; nothing is known of an
/// encoder–decoder, whose decoder reads no window without a source. Errors: the engine's;
/// kCancelled.
Result<InputNoises> measure_input_noise(const Model& model, const TokenWindows& windows,
                                        const std::shared_ptr<Executor>& executor,
                                        ProgressMeter& meter);

}  // namespace quern::convert
