/// \file
/// Source configurations ↔ canonical ones, by tables of key names.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Copies every key of the table that the source has. kMissing naming the source's key for an
/// absent required one. \param gguf_arch prefix of GGUF keys, e.g. "llama".
Result<Config> read_keys(std::span<const ConfigKey> keys, const Config& source, SourceKind kind,
                         std::string_view gguf_arch);

/// The reverse: canonical keys under their GGUF names.
Config write_gguf_keys(std::span<const ConfigKey> keys, const Config& config,
                       std::string_view gguf_arch);

/// How a family spells the keys of DecoderDims where it does not spell them as Llama does.
struct DecoderSpelling {
  std::string_view gguf_arch;
  std::string_view activation = "silu";  ///< Canonical; what a GGUF file, which never says, means.
  std::string_view hf_activation = "hidden_act";
  /// In the place of the common keys of the same canonical name, and beside them.
  std::vector<ConfigKey> keys = {};
};

/// The keys that every decoder has (vocab_size … norm_eps), filled up with what follows from others
/// (n_kv_heads, head_dim, a ffn_dim of 4·dim), the family's own, and `activation`.
Result<Config> read_decoder_config(const Config& source, SourceKind kind,
                                   const DecoderSpelling& spelling);
/// \return kUnsupported where the activation is not the one that the GGUF architecture implies.
Result<Config> write_gguf_decoder_config(const Config& config, const DecoderSpelling& spelling);

/// The epsilon of layer norms under its common names, for DecoderSpelling::keys.
ConfigKey layer_norm_eps_key(std::string_view hf = "layer_norm_eps");

/// A word of Hugging Face's ACT2FN → ours ("silu", "gelu_tanh", …); kUnsupported by name.
Result<std::string> canonical_activation(const std::string& name);
Result<graph::Activation> parse_activation(const std::string& canonical);

/// Sets `kv_group`, the number of query heads per KV head, for fused projections.
Status set_kv_group(Config& config);

/// The width of each of `n_heads`. kOutOfRange naming `field` where they do not divide the whole.
Result<std::int64_t> head_width(std::int64_t width, std::int64_t n_heads, std::string field);

/// A number that may be none: 0 where it is null, `absent` where the configuration does not have
/// the key, which is what transformers' class takes then.
Result<double> optional_number(const Config& source, std::string_view key, double absent);
Result<std::int64_t> optional_integer(const Config& source, std::string_view key,
                                      std::int64_t absent);

/// Whether the configuration names a class that begins so.
bool is_class(const Config& source, std::string_view prefix);

/// Names, where `key` is set, a value other than `only` in a kUnsupported error.
Status expect_value(const Config& source, std::string_view key, const ConfigValue& only);

/// kUnsupported naming `key` unless it is absent, null, or false / zero / an empty list.
Status refuse(const Config& source, std::string_view key, std::string_view why);

}  // namespace quern::models
