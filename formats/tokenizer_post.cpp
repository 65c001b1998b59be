// Post-processors of tokenizer.json: all of them put ids before and after the text's.
#include "formats/tokenizer_fields.h"

namespace quern::formats {
namespace {

using Template = std::vector<std::int32_t>;
constexpr std::size_t kMaxTemplate = 4096;

/// Puts `inner` where `outer` has the text.
Status wrap(const JsonFields& fields, const Template& outer, Template& inner) {
  Template result;
  for (const std::int32_t item : outer) {
    if (item == TokenizerSpec::kTemplateText) {
      result.insert(result.end(), inner.begin(), inner.end());
    } else {
      result.push_back(item);
    }
    if (result.size() > kMaxTemplate) {
      return fields.error(ErrorCode::kLimit, "", "the post-processor adds too many tokens");
    }
  }
  inner = std::move(result);
  return {};
}

Result<std::int32_t> pair_id(const JsonFields& fields, const char* key) {
  const Json* value = fields.find(key);
  if (value == nullptr || !value->is_array() || value->size() != 2 || !(*value)[1].is_unsigned() ||
      (*value)[1].unsigned_integer() >= 0x7fffffffu) {
    return fields.error(ErrorCode::kMalformed, key, "no token and id").want("[\"token\", id]");
  }
  return static_cast<std::int32_t>((*value)[1].integer());
}

Status cls_sep(const JsonFields& fields, Template& out) {
  QUERN_TRY(cls, pair_id(fields, "cls"));
  QUERN_TRY(sep, pair_id(fields, "sep"));
  return wrap(fields, {cls, TokenizerSpec::kTemplateText, sep}, out);
}

Status special_ids(const JsonFields& fields, const std::string& name, Template& out) {
  QUERN_TRY(known, fields.object("special_tokens"));
  QUERN_TRY(token, known.object(name.c_str()));
  const Json* ids = token.find("ids");
  if (ids == nullptr || !ids->is_array()) {
    return token.error(ErrorCode::kMalformed, "ids", "a special token has no ids");
  }
  for (const Json& id : *ids) {
    if (!id.is_unsigned() || id.unsigned_integer() >= 0x7fffffffu) {
      return token.error(ErrorCode::kMalformed, "ids", "an id is no small integer");
    }
    out.push_back(static_cast<std::int32_t>(id.integer()));
  }
  return {};
}

Status template_processing(const JsonFields& fields, Template& out) {
  const Json* single = fields.find("single");
  if (single == nullptr || !single->is_array()) {
    return fields.error(ErrorCode::kMalformed, "single", "no template").want("an array");
  }
  Template pieces;
  for (const Json& piece : *single) {
    const JsonFields item = fields.child(piece, "single[]");
    if (item.find("Sequence") != nullptr) {
      QUERN_TRY(sequence, item.object("Sequence"));
      QUERN_TRY(id, sequence.text("id"));
      if (id != "A") {
        return sequence.error(ErrorCode::kMalformed, "id", "one text has no second part").got(id);
      }
      pieces.push_back(TokenizerSpec::kTemplateText);
    } else {
      QUERN_TRY(token, item.object("SpecialToken"));
      QUERN_TRY(id, token.text("id"));
      QUERN_CHECK(special_ids(fields, id, pieces));
    }
  }
  return wrap(fields, pieces, out);
}

Status nothing(const JsonFields&, Template&) { return {}; }

constexpr struct {
  const char* name;
  Status (*read)(const JsonFields&, Template&);
} kPostProcessors[] = {
    {"TemplateProcessing", template_processing},
    {"ByteLevel", nothing},  // Changes offsets only.
    {"BertProcessing", cls_sep},
    {"RobertaProcessing", cls_sep},
};

}  // namespace

Status read_post_processor(const JsonFields& fields, Template& post_template) {
  QUERN_TRY(type, fields.text("type"));
  if (type == "Sequence") {
    const Json* list = fields.find("processors");
    if (list == nullptr || !list->is_array()) {
      return fields.error(ErrorCode::kMalformed, "processors", "a sequence has no members");
    }
    for (const Json& member : *list) {
      QUERN_CHECK(read_post_processor(fields.child(member, "processors[]"), post_template));
    }
    return {};
  }
  for (const auto& row : kPostProcessors) {
    if (type == row.name) return row.read(fields, post_template);
  }
  return fields.error(ErrorCode::kUnsupported, "type", "a tokenizer component is not implemented")
      .got(type);
}

}  // namespace quern::formats
