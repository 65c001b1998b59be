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
    const std::string& type = processor["type"].string();
    if (type == "Sequence") {
      for (const Json& member : processor["processors"]) QUERN_CHECK(read(member));
    }
    if (type == "TemplateProcessing") return read_template(processor);
    if (type == "BertProcessing") return read_fixed(processor, 1, 1);
    if (type == "RobertaProcessing") return read_fixed(processor, 2, 0);
    return {};
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
    const Json& tokens = processor["special_tokens"];
    for (const Json& piece : processor["pair"]) {
      if (!piece.is_object() || piece.size() != 1) return malformed();
      const Json& body = piece.items().front().value;
      if (!body["id"].is_string()) return malformed();
      const std::string& id = body["id"].string();
      const std::int64_t type = body["type_id"].integer();
      if (piece.contains("Sequence")) {
        if (id != "A" && id != "B") return malformed();
        add(id == "A" ? -1 : -2, type);
        continue;
      }
      const Json& ids = tokens[id]["ids"];
      if (!ids.is_array()) return malformed();
      for (const Json& number : ids) {
        if (!number.is_unsigned()) return malformed();
        add(number.integer(), type);
      }
    }
    return {};
  }

  /// [CLS] a [SEP] … b [SEP] of the two processors that have no template.
  Status read_fixed(const Json& processor, int separators, std::int64_t second_type) {
    std::array<std::int64_t, 2> ids{};
    for (std::size_t i = 0; i < 2; ++i) {
      const Json& token = processor[i == 0 ? "cls" : "sep"];
      if (token.size() != 2 || !token[1].is_unsigned()) return malformed();
      ids[i] = token[1].integer();
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
  PairReader reader;
  const Status read = reader.read(std::as_const(json)["post_processor"]);
  if (!read.ok()) return Error(read.error()).in_file(directory.tokenizer_json);
  std::move(reader).store(config);
  return {};
}

}  // namespace quern::convert
