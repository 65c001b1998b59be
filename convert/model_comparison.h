/// \file
/// How far a quantized model is from its source, on a text.
#pragma once

#include <cstdint>
#include <string>

#include "quern/evaluation.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Of a decoder `logits`, scored against the source's; of an encoder the cosines between the
/// embeddings of both.
struct ModelComparison {
  LogitsQuality logits;
  double source_perplexity = 0;
  std::int64_t texts = 0;  ///< Sentences compared; 0: a decoder.
  double cosine_mean = 0, cosine_least = 0;
};

/// Decoders: windows of 512 tokens (or the model's longest) by the protocol of
/// quern/evaluation.h, up to 20 of them spread over the text; encoders: up to 200 lines of the
/// text. \param kv the cache of the quantized one. Errors: those of read_windows (sample_text.h),
/// of Session and Encoder; kInvalidArgument for a text without lines; kCancelled.
Result<ModelComparison> compare_models(const Model& source, const Model& quantized, KvType kv,
                                       const std::string& text_path, const Progress& progress);

}  // namespace quern::convert
