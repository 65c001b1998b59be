#include "convert/huggingface_tokenizer.h"

#include <cstdint>
#include <utility>

#include "convert/added_token_notes.h"
#include "convert/marian_tokenizer.h"
#include "convert/sentencepiece_tokenizer.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/quern_layout.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {
namespace {

using formats::Json;
using formats::SpecialIds;
using formats::TokenizerSpec;

struct SpecialName {
  const char* text_key;  ///< In tokenizer_config.json and special_tokens_map.json.
  const char* id_key;    ///< In config.json.
  std::int32_t SpecialIds::*slot;
};
constexpr SpecialName kSpecial[] = {
    {"bos_token", "bos_token_id", &SpecialIds::bos},
    {"eos_token", "eos_token_id", &SpecialIds::eos},
    {"unk_token", "unk_token_id", &SpecialIds::unk},
    {"pad_token", "pad_token_id", &SpecialIds::pad},
    {"sep_token", "sep_token_id", &SpecialIds::sep},
    {"cls_token", "cls_token_id", &SpecialIds::cls},
    {"mask_token", "mask_token_id", &SpecialIds::mask},
};

Result<Json> read_optional(const std::string& path) {
  if (path.empty()) return Json();
  return formats::read_json_file(path, {}, true);
}

std::int32_t id_of_config(const TokenizerSpec& spec, const Config& config, const char* key) {
  const ConfigList ids = config.list(key);
  const auto* id = ids.empty() ? nullptr : std::get_if<std::int64_t>(&ids.front());
  if (id == nullptr || *id < 0 || *id >= static_cast<std::int64_t>(spec.tokens.size())) return -1;
  return static_cast<std::int32_t>(*id);
}

/// The template of tokenizer_config.json: a text, or a list of {name, template}.
std::string template_of(const Json& config) {
  const Json& value = config["chat_template"];
  for (const Json& entry : value) {
    if (token_text(entry["name"]) == "default") return token_text(entry["template"]);
  }
  return value.string();
}

}  // namespace

Result<TokenizerSpec> read_huggingface_tokenizer(const formats::CheckpointDir& directory) {
  TokenizerNotes notes;
  notes.file = directory.path + "/tokenizer_config.json";
  QUERN_TRY(config, read_optional(directory.tokenizer_config_json));
  QUERN_TRY(map, read_optional(directory.special_tokens_map_json));
  notes.config = std::move(config);
  notes.map = std::move(map);
  TokenizerSpec spec;
  if (directory.tokenizer_json.empty()) {
    QUERN_TRY(added, read_optional(directory.added_tokens_json));
    notes.added = std::move(added);
    QUERN_TRY(made, directory.sentencepiece_model.empty()
                        ? read_marian_tokenizer(directory, notes)
                        : read_sentencepiece_tokenizer(directory, notes));
    spec = std::move(made);
  } else {
    QUERN_TRY(root, formats::read_json_file(directory.tokenizer_json));
    QUERN_TRY(read, formats::read_tokenizer_json(root, directory.tokenizer_json));
    spec = std::move(read);
  }
  for (const SpecialName& name : kSpecial) {
    std::int32_t& slot = spec.ids.*name.slot;
    for (const Json* source : {&notes.config, &notes.map}) {
      const std::int32_t id = find_token(spec, token_text((*source)[name.text_key]));
      if (id < 0) continue;
      slot = id;
      break;
    }
    if (slot < 0) slot = id_of_config(spec, directory.config, name.id_key);
  }
  return spec;
}

Result<std::string> read_huggingface_template(const formats::CheckpointDir& directory) {
  if (!directory.chat_template_jinja.empty()) {
    return formats::read_file(directory.chat_template_jinja, formats::kQuernMaxTextBytes);
  }
  QUERN_TRY(config, read_optional(directory.tokenizer_config_json));
  return template_of(config);
}

}  // namespace quern::convert
