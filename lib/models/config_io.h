/// \file
/// Source configurations ↔ canonical ones, by tables of key names.
#pragma once

#include <span>
#include <string_view>

#include "models/architecture.h"

namespace quern::models {

/// Copies every key of the table that the source has. kMissing naming the source's key for an
/// absent required one. \param gguf_arch prefix of GGUF keys, e.g. "llama".
Result<Config> read_keys(std::span<const ConfigKey> keys, const Config& source, SourceKind kind,
                         std::string_view gguf_arch);

/// The reverse: canonical keys under their GGUF names.
Config write_gguf_keys(std::span<const ConfigKey> keys, const Config& config,
                       std::string_view gguf_arch);

/// The keys that every decoder of the Llama kind has (vocab_size … norm_eps), filled up with what
/// follows from others (n_kv_heads, head_dim), and `activation`.
Result<Config> read_decoder_config(const Config& source, SourceKind kind,
                                   std::string_view gguf_arch, std::string_view gguf_activation);
Config write_gguf_decoder_config(const Config& config, std::string_view gguf_arch);

/// A word of Hugging Face's ACT2FN → ours ("silu", "gelu_tanh", …); kUnsupported by name.
Result<std::string> canonical_activation(const std::string& name);
Result<graph::Activation> parse_activation(const std::string& canonical);

/// kUnsupported naming `key` unless it is absent, null, or false / zero / an empty list.
Status refuse(const Config& source, std::string_view key, std::string_view why);

}  // namespace quern::models
