/// \file
/// A Hugging Face model directory: configuration, weights, and where the tokenizer's files lie.
#pragma once

#include <optional>
#include <string>

#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::formats {

/// What was found in the directory. Move-only. Thread rule: immutable after `open`.
struct CheckpointDir {
  std::string path;
  Json config_json;                        ///< config.json as it stands.
  Config config;                           ///< The same, flattened.
  Json generation_json;                    ///< generation_config.json; null where absent.
  std::optional<SafetensorsFile> weights;  ///< Absent where the directory has none.

  // Paths of the tokenizer's files; empty where absent.
  std::string tokenizer_json, tokenizer_config_json, special_tokens_map_json, chat_template_jinja,
      sentencepiece_model, vocab_json, merges_txt, vocab_txt, added_tokens_json;

  /// Reads config.json (required), generation_config.json, and opens model.safetensors or
  /// model.safetensors.index.json. A directory that holds only pickled weights is kUnsupported.
  static Result<CheckpointDir> open(const std::string& directory);
};

}  // namespace quern::formats
