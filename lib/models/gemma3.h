/// \file
/// What Gemma 3's decoder and its encoder share.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "models/architecture.h"
#include "models/blocks.h"

namespace quern::models {

inline constexpr std::string_view kGemma3Gguf = "gemma3";

/// Dimensions, rotary bases, windows and scales of either source. Errors: those of the parts.
Result<Config> read_gemma3_config(const Config& source, SourceKind kind);

/// Embedding, layers and the last norm; \param head the output matrix too.
std::vector<TensorRule> gemma3_tensors(bool head);

/// wo · attention of a layer whose normed input is `h`.
using Gemma3Attention =
    std::function<graph::ValueId(std::int64_t layer, graph::ValueId h, graph::ValueId angles)>;

/// \return what the last norm reads: the embedding and all layers of it. Errors: kOutOfRange, and
/// those of the configuration's keys.
Result<graph::ValueId> gemma3_layers(graph::GraphBuilder& g, const Config& config,
                                     const DecoderDims& dims, graph::WeightId embed,
                                     const Gemma3Attention& attention);

}  // namespace quern::models
