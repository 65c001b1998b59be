#include "convert/sentence_settings.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::Json;

/// sentence-transformers' word, its older flag, ours.
struct PoolingWord {
  std::string_view word, flag, canonical;
};
constexpr std::array<PoolingWord, 4> kPoolings = {{
    {"cls", "pooling_mode_cls_token", "first"},
    {"max", "pooling_mode_max_tokens", "max"},
    {"mean", "pooling_mode_mean_tokens", "mean"},
    {"lasttoken", "pooling_mode_lasttoken", "last"},
}};

Result<bool> is_set(const Json& json, const char* key, const std::string& file, bool absent) {
  const Json& value = json[key];
  if (value.is_null()) return absent;
  if (!value.is_boolean())
    return Error(ErrorCode::kMalformed, "a value is neither true nor false").in_file(file).of(key);
  return value.boolean();
}

/// The names of what is pooled: the newer key holds one word or some, and counts where there are
/// older flags too; without any flag the mean is meant.
Result<std::vector<std::string>> pooling_words(const Json& json, const std::string& file) {
  std::vector<std::string> words;
  const Json& mode = json["pooling_mode"];
  if (mode.is_string()) return std::vector{mode.string()};
  if (mode.is_array()) {
    for (const Json& word : mode) words.push_back(word.string());
    return words;
  }
  if (!mode.is_null())
    return Error(ErrorCode::kMalformed, "the kind of pooling is no word")
        .in_file(file)
        .of("pooling_mode");
  for (const formats::JsonMember& item : json.items()) {
    if (!item.key.starts_with("pooling_mode_")) continue;
    QUERN_TRY(set, is_set(json, item.key.c_str(), file, false));
    if (set) words.push_back(item.key);
  }
  if (words.empty()) words.emplace_back("mean");
  return words;
}

/// Exactly one kind of pooling: several together would make a longer embedding.
Status read_pooling(const std::string& file, Config& config) {
  QUERN_TRY(json, formats::read_json_file(file));
  const Error none =
      Error(ErrorCode::kUnsupported, "this pooling is not implemented").in_file(file);
  if (!json.is_object()) return none;
  QUERN_TRY(words, pooling_words(json, file));
  for (const std::string& word : words) {
    const auto known =
        std::find_if(kPoolings.begin(), kPoolings.end(),
                     [&](const PoolingWord& row) { return word == row.word || word == row.flag; });
    if (known == kPoolings.end() || words.size() > 1)
      return Error(none)
          .of("pooling_mode")
          .want("one of mean, cls, max and lasttoken")
          .got(formats::quote(word));
    config.set("embedding.pooling", std::string(known->canonical));
  }
  QUERN_TRY(pools_prompt, is_set(json, "include_prompt", file, true));
  config.set("embedding.pools_prompt", pools_prompt);
  return {};
}

/// One module of modules.json; the transformer itself is the model.
Status read_module(const Json& module, const std::string& base, const std::string& file,
                   Config& config) {
  if (!module.is_object())
    return Error(ErrorCode::kMalformed, "a module is no JSON object").in_file(file);
  const std::string& type = module["type"].string();
  const std::string kind = type.substr(type.rfind('.') + 1);
  if (kind == "Transformer" || kind == "Dropout") return {};  // Nothing is dropped here.
  if (kind == "Pooling") {
    const std::string& path = module["path"].string();
    if (path.find("..") != std::string::npos || path.starts_with('/'))
      return Error(ErrorCode::kMalformed, "a module lies outside the checkpoint")
          .in_file(file)
          .of("path")
          .got(formats::quote(path));
    return read_pooling(base + path + "/config.json", config);
  }
  if (kind == "Normalize") {
    config.set("embedding.normalize", true);
    return {};
  }
  return Error(ErrorCode::kUnsupported, "a module of sentence-transformers is not implemented")
      .in_file(file)
      .of("type")
      .want("Transformer, Pooling, Normalize or Dropout")
      .got(formats::quote(type));
}

/// Whether a normalizer of tokenizer.json, or one of a sequence, makes small letters.
bool lowers(const Json& normalizer) {
  if (!normalizer.is_object()) return false;
  const Json& flag = normalizer["lowercase"];
  if (normalizer["type"].string() == "Lowercase") return true;
  if (normalizer["type"].string() == "BertNormalizer") return flag.is_null() || flag.boolean();
  const Json& all = normalizer["normalizers"];
  if (!all.is_array()) return false;
  for (const Json& one : all) {
    if (lowers(one)) return true;
  }
  return false;
}

/// sentence-transformers puts small letters before a tokenizer that keeps capitals.
Status check_lower_case(const std::string& base, const std::string& file) {
  const std::string tokenizer = base + "tokenizer.json";
  if (formats::is_regular_file(tokenizer)) {
    QUERN_TRY(json, formats::read_json_file(tokenizer));
    if (json.is_object() && lowers(json["normalizer"])) return {};
  }
  return Error(ErrorCode::kUnsupported,
               "small letters before a tokenizer that keeps capitals are not implemented")
      .in_file(file)
      .of("do_lower_case");
}

Status read_limits(const std::string& base, Config& config) {
  const std::string file = base + "sentence_bert_config.json";
  if (!formats::is_regular_file(file)) return {};
  QUERN_TRY(json, formats::read_json_file(file));
  QUERN_TRY(settings, formats::flatten_json(json, file));
  QUERN_TRY(lower, settings.boolean_or("do_lower_case", false));
  if (lower) QUERN_CHECK(check_lower_case(base, file));
  if (settings.has("max_seq_length")) {
    QUERN_TRY(most, settings.integer("max_seq_length"));
    if (most > 0) config.set("embedding.max_tokens", most);
  }
  return {};
}

/// The prompt that stands before every text where none is asked for.
Status read_prompt(const std::string& base, Config& config) {
  const std::string file = base + "config_sentence_transformers.json";
  if (!formats::is_regular_file(file)) return {};
  QUERN_TRY(json, formats::read_json_file(file));
  if (!json.is_object()) return {};
  const Json& name = json["default_prompt_name"];
  if (!name.is_string()) return {};
  const Json& prompt = json["prompts"].is_object() ? json["prompts"][name.string().c_str()] : name;
  if (!json["prompts"].is_object() || !prompt.is_string())
    return Error(ErrorCode::kMalformed, "the default prompt is not among the prompts")
        .in_file(file)
        .of("default_prompt_name")
        .got(formats::quote(name.string()));
  QUERN_TRY(pools, config.boolean_or("embedding.pools_prompt", true));
  if (!pools && !prompt.string().empty())
    return Error(ErrorCode::kUnsupported, "pooling without a prompt's tokens is not implemented")
        .in_file(file)
        .of("default_prompt_name")
        .got(formats::quote(name.string()));
  config.set("embedding.prompt", prompt.string());
  return {};
}

}  // namespace

Status read_sentence_settings(const formats::CheckpointDir& directory, Config& config) {
  const std::string base = directory.path + "/";
  const std::string file = base + "modules.json";
  if (!formats::is_regular_file(file)) return {};
  QUERN_TRY(modules, formats::read_json_file(file));
  if (!modules.is_array())
    return Error(ErrorCode::kMalformed, "the list of modules is no JSON array").in_file(file);
  config.set("embedding.normalize", false);
  for (const Json& module : modules) QUERN_CHECK(read_module(module, base, file, config));
  QUERN_CHECK(read_limits(base, config));
  return read_prompt(base, config);
}

}  // namespace quern::convert
