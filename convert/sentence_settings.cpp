#include "convert/sentence_settings.h"

#include <string>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::Json;

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

/// Newer files say which output of which task the rows are.
Status check_task(const Config& settings, const std::string& file) {
  constexpr std::pair<const char*, const char*> kOnly[] = {
      {"transformer_task", "feature-extraction"},
      {"module_output_name", "token_embeddings"},
      {"modality_config.text.method", "forward"},
      {"modality_config.text.method_output_name", "last_hidden_state"}};
  for (const auto& [key, only] : kOnly) {
    QUERN_TRY(word, settings.string_or(key, only));
    if (word != only)
      return Error(ErrorCode::kUnsupported, "rows other than the last hidden states are not pooled")
          .in_file(file)
          .of(key)
          .want(only)
          .got(formats::quote(word));
  }
  return {};
}

Status read_limits(const std::string& base, Config& config) {
  const std::string file = base + "sentence_bert_config.json";
  if (!formats::is_regular_file(file)) return {};
  QUERN_TRY(json, formats::read_json_file(file));
  QUERN_TRY(settings, formats::flatten_json(json, file));
  QUERN_CHECK(check_task(settings, file));
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

Result<std::vector<ModuleWeights>> read_sentence_settings(const formats::CheckpointDir& directory,
                                                          Config& config) {
  const std::string base = directory.path + "/";
  std::vector<ModuleWeights> weights;
  if (!formats::is_regular_file(base + "modules.json")) return weights;
  QUERN_TRY(read, read_sentence_modules(base, config));
  weights = std::move(read);
  QUERN_CHECK(read_limits(base, config));
  QUERN_CHECK(read_prompt(base, config));
  return weights;
}

}  // namespace quern::convert
