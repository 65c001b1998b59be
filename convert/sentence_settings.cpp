#include "convert/sentence_settings.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::Json;

constexpr std::array<std::pair<const char*, const char*>, 4> kPoolings = {{
    {"pooling_mode_cls_token", "first"},
    {"pooling_mode_mean_tokens", "mean"},
    {"pooling_mode_max_tokens", "max"},
    {"pooling_mode_lasttoken", "last"},
}};

Result<bool> is_set(const Json& json, const char* key, const std::string& file) {
  const Json& value = json[key];
  if (value.is_null()) return false;
  if (!value.is_boolean())
    return Error(ErrorCode::kMalformed, "a value is neither true nor false").in_file(file).of(key);
  return value.boolean();
}

/// Exactly one kind of pooling: several together would make a longer embedding.
Status read_pooling(const std::string& file, Config& config) {
  QUERN_TRY(json, formats::read_json_file(file));
  const Error none =
      Error(ErrorCode::kUnsupported, "this pooling is not implemented").in_file(file);
  if (!json.is_object()) return none;
  for (const formats::JsonMember& item : json.items()) {
    const std::string& key = item.key;
    const Json& value = item.value;
    if (!key.starts_with("pooling_mode")) continue;
    if (key == "pooling_mode") {  // The newer spelling: one word.
      if (!value.is_string()) return Error(none).of(key);
      const std::string& word = value.string();
      const std::string canonical = word == "cls" ? "first" : word == "lasttoken" ? "last" : word;
      if (canonical != "first" && canonical != "mean" && canonical != "max" && canonical != "last")
        return Error(none).of(key).got(formats::quote(word));
      config.set("embedding.pooling", canonical);
      continue;
    }
    QUERN_TRY(set, is_set(json, key.c_str(), file));
    if (!set) continue;
    const auto known = std::find_if(kPoolings.begin(), kPoolings.end(),
                                    [&](const auto& row) { return key == row.first; });
    if (known == kPoolings.end() || config.has("embedding.pooling"))
      return Error(none).of(formats::quote(key)).want("one of mean, cls, max and last");
    config.set("embedding.pooling", std::string(known->second));
  }
  return config.has("embedding.pooling") ? Status() : Status(none);
}

/// One module of modules.json; the transformer itself is the model.
Status read_module(const Json& module, const std::string& base, const std::string& file,
                   Config& config) {
  if (!module.is_object())
    return Error(ErrorCode::kMalformed, "a module is no JSON object").in_file(file);
  const std::string& type = module["type"].string();
  const std::string kind = type.substr(type.rfind('.') + 1);
  if (kind == "Transformer") return {};
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
      .want("Transformer, Pooling or Normalize")
      .got(formats::quote(type));
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
  const std::string limits = base + "sentence_bert_config.json";
  if (!formats::is_regular_file(limits)) return {};
  QUERN_TRY(json, formats::read_json_file(limits));
  QUERN_TRY(settings, formats::flatten_json(json, limits));
  if (settings.has("max_seq_length")) {
    QUERN_TRY(most, settings.integer("max_seq_length"));
    if (most > 0) config.set("embedding.max_tokens", most);
  }
  return {};
}

}  // namespace quern::convert
