/// \file
/// What T5's family shares: the encoder–decoder and the encoder alone.
#pragma once

#include <string>
#include <vector>

#include "models/encoder_decoder.h"

namespace quern::models {

/// The keys of both stacks, and those of the decoder where `with_decoder`.
Result<Config> read_t5_config(const Config& source, SourceKind kind, std::string_view gguf_arch,
                              bool with_decoder);
Result<Config> write_t5_config(const Config& config, std::string_view gguf_arch);

/// The embedding, the encoder, and the decoder where asked for.
std::vector<TensorRule> t5_tensors(bool with_decoder);

Result<EncoderDecoderLayout> t5_layout(const Config& config);

}  // namespace quern::models
