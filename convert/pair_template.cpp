#include "convert/pair_template.h"

#include <array>
#include <string>
#include <utility>

#include "formats/json.h"

namespace quern::convert {
namespace {

using formats::Json;

/// The items of a pair's template, in tokenizer.json's three spellings.
class PairReader {
 public:
  Status read(const Json& processor) {
    const auto word = processor.find("type");
    const std::string type =
        word != processor.end() && word->is_string() ? word->get<std::string>() : std::string();
    if (type == "Sequence") {
      const auto members = processor.find("processors");
      if (members == processor.end() || !members->is_array()) return {};
      for (const Json& member : *members) QUERN_CHECK(read_object(member));
    }
    if (type == "TemplateProcessing") return read_template(processor);
    if (type == "BertProcessing") return read_fixed(processor, 1, 1);
    if (type == "RobertaProcessing") return read_fixed(processor, 2, 0);
    return {};
  }

  Status read_object(const Json& processor) {
    return processor.is_object() ? read(processor) : Status();
  }

  void store(Config& config) && {
    if (items_.empty()) return;
    config.set("pair_template", std::move(items_));
    config.set("pair_types", std::move(types_));
  }

 private:
  static Error malformed() {
    return Error(ErrorCode::kMalformed, "the template for a pair of texts is wrong")
        .of("post_processor");
  }

  void add(std::int64_t item, std::int64_t type) {
    items_.emplace_back(item);
    types_.emplace_back(type);
  }

  Status read_template(const Json& processor) {
    const auto pair = processor.find("pair");
    const auto tokens = processor.find("special_tokens");
    if (pair == processor.end() || !pair->is_array()) return {};
    for (const Json& piece : *pair) {
      if (!piece.is_object() || piece.size() != 1) return malformed();
      const Json& body = piece.begin().value();
      if (!body.is_object() || !body.contains("id") || !body["id"].is_string()) return malformed();
      const std::string id = body["id"].get<std::string>();
      const auto type_at = body.find("type_id");
      const bool typed = type_at != body.end() && type_at->is_number_unsigned();
      const auto type = typed ? static_cast<std::int64_t>(type_at->get<std::uint32_t>()) : 0;
      if (piece.contains("Sequence")) {
        if (id != "A" && id != "B") return malformed();
        add(id == "A" ? -1 : -2, type);
        continue;
      }
      if (tokens == processor.end() || !tokens->is_object() || !tokens->contains(id))
        return malformed();
      const Json& token = (*tokens)[id];
      if (!token.is_object() || !token.contains("ids") || !token["ids"].is_array())
        return malformed();
      for (const Json& number : token["ids"]) {
        if (!number.is_number_unsigned()) return malformed();
        add(static_cast<std::int64_t>(number.get<std::uint32_t>()), type);
      }
    }
    return {};
  }

  /// [CLS] a [SEP] … b [SEP] of the two processors that have no template.
  Status read_fixed(const Json& processor, int separators, std::int64_t second_type) {
    std::array<std::int64_t, 2> ids{};
    for (std::size_t i = 0; i < 2; ++i) {
      const auto at = processor.find(i == 0 ? "cls" : "sep");
      if (at == processor.end() || !at->is_array() || at->size() != 2 ||
          !(*at)[1].is_number_unsigned())
        return malformed();
      ids[i] = static_cast<std::int64_t>((*at)[1].get<std::uint32_t>());
    }
    add(ids[0], 0);
    add(-1, 0);
    for (int i = 0; i < separators; ++i) add(ids[1], 0);
    add(-2, second_type);
    add(ids[1], second_type);
    return {};
  }

  ConfigList items_, types_;
};

}  // namespace

Status read_pair_template(const formats::CheckpointDir& directory, Config& config) {
  if (directory.tokenizer_json.empty()) return {};
  QUERN_TRY(json, formats::read_json_file(directory.tokenizer_json));
  const auto processor = json.is_object() ? json.find("post_processor") : json.end();
  if (!json.is_object() || processor == json.end()) return {};
  PairReader reader;
  const Status read = reader.read_object(*processor);
  if (!read.ok()) return Error(read.error()).in_file(directory.tokenizer_json);
  std::move(reader).store(config);
  return {};
}

}  // namespace quern::convert
