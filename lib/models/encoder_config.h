/// \file
/// What the configurations of encoders share: dimensions, and the head that a class puts on top.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "models/architecture.h"
#include "models/config_io.h"

namespace quern::models {

/// Reads `keys` and what follows from them (head_dim, embed_dim, max_seq_len = n_positions −
/// `position_offset`), `activation` from the source's key `hf_activation`; refuses decoders and
/// cross-attention. `keys` must give vocab_size, dim, n_layers, n_heads, ffn_dim, n_positions.
Result<Config> read_encoder_config(const Config& source, SourceKind kind,
                                   std::span<const ConfigKey> keys, std::string_view gguf_arch,
                                   std::string_view hf_activation);

/// The keys of BERT and of what copies its configuration.
std::span<const ConfigKey> bert_keys() noexcept;

/// Sets `head.masked_lm`, `head.sequence`, `head.tokens` (one is true, or none) from the end of the
/// class name ("…ForMaskedLM", "…ForSequenceClassification", "…ForTokenClassification"), for the
/// last two `n_labels` and `labels`, and `head_width` (dim).
Status read_head(const Config& source, Config& config);

/// Positions that begin behind the padding's id, as fairseq has them: `position_offset`, and
/// `max_seq_len` accordingly.
Status read_padded_positions(const Config& source, Config& config);

/// What llama.cpp knows on top of an encoder: nothing, or the labels of a text, which it calls
/// ranking. kUnsupported by name for other heads, and for another `head.activation` than
/// `activation`. Sets the pooling and the labels; \return whether there is a head.
Result<bool> write_gguf_head(const Config& config, std::string_view gguf_arch,
                             std::string_view activation, Config& out);
/// The reverse, of a file whose pooling is ranking: `head.sequence`, `labels`.
Status read_gguf_head(const Config& source, std::string_view gguf_arch, Config& config);
/// kUnsupported unless `activation` is what the GGUF architecture implies.
Status check_gguf_activation(const Config& config, std::string_view only);

/// What GGUF says beside the keys: no causal mask, the number of token types, and how a text's rows
/// become one embedding. kUnsupported for a pooling that GGUF has no number for.
Status write_gguf_pooling(const Config& config, std::string_view gguf_arch, Config& out);
/// All of the encoders that llama.cpp takes for its `bert`. Errors: those of the parts above.
Result<Config> write_bert_gguf_config(const Config& config);
/// The reverse: `embedding.pooling`, where the file tells.
Status read_gguf_pooling(const Config& source, std::string_view gguf_arch, Config& config);

}  // namespace quern::models
