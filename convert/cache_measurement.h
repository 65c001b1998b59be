/// \file
/// Measures which key/value cache the weights of a finished model bear.
#pragma once

#include <optional>

#include "formats/cache_choice.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Lets the model read one text of 512 tokens over a float32, an f16 and an int8 cache, and
/// compares the distributions of the second half's tokens. An int8 cache is chosen where it moves
/// them at most twice as far as an f16 one does, whose own distance is that of any rounding which
/// makes later activations take other codes. \return nullopt where there is nothing to choose:
/// float weights keep a float32 cache, an encoder or a state space has none, a context of less than
/// 512 tokens gains nothing. Errors: those of Session.
Result<std::optional<formats::CacheChoice>> measure_cache(const Model& model);

}  // namespace quern::convert
