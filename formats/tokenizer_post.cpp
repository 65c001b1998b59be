// Post-processors of tokenizer.json: all of them put ids before and after the text's.
#include <string_view>

#include "formats/tokenizer_fields.h"

namespace quern::formats {
namespace {

using Template = std::vector<std::int32_t>;
/// What is joined in the end. A processor of a sequence sees what the one before it left in parts,
/// and treats the parts as it would several texts.
using Parts = std::vector<Template>;
constexpr std::size_t kMaxTemplate = 4096;

Status check_size(const JsonFields& fields, const Parts& parts) {
  std::size_t items = 0;
  for (const Template& part : parts) items += part.size() + 1;
  if (items <= kMaxTemplate) return {};
  return fields.error(ErrorCode::kLimit, "", "the post-processor adds too many tokens");
}

Result<std::int32_t> pair_id(const JsonFields& fields, const char* key) {
  const Json* value = fields.find(key);
  if (value == nullptr || !value->is_array() || value->size() != 2 || !(*value)[1].is_unsigned() ||
      (*value)[1].unsigned_integer() >= 0x7fffffffu) {
    return fields.error(ErrorCode::kMalformed, key, "no token and id").want("[\"token\", id]");
  }
  return static_cast<std::int32_t>((*value)[1].integer());
}

/// CLS before the first part, SEP behind every part and, where asked, before the later ones.
Status cls_sep(const JsonFields& fields, bool sep_before, Parts& parts) {
  QUERN_TRY(cls, pair_id(fields, "cls"));
  QUERN_TRY(sep, pair_id(fields, "sep"));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i == 0 || sep_before) parts[i].insert(parts[i].begin(), i == 0 ? cls : sep);
    parts[i].push_back(sep);
  }
  return check_size(fields, parts);
}

Status bert(const JsonFields& fields, Parts& parts) { return cls_sep(fields, false, parts); }
Status roberta(const JsonFields& fields, Parts& parts) { return cls_sep(fields, true, parts); }

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

/// One piece of a template: a text, or a special token.
Status read_piece(const JsonFields& fields, const JsonFields& item, const Parts& texts,
                  Template& out) {
  if (item.find("Sequence") == nullptr) {
    QUERN_TRY(token, item.object("SpecialToken"));
    QUERN_TRY(special, token.text("id"));
    return special_ids(fields, special, out);
  }
  QUERN_TRY(sequence, item.object("Sequence"));
  QUERN_TRY(id, sequence.text("id"));
  const std::size_t which = std::string_view(id) == "A" ? 0 : 1;
  if (which >= texts.size()) {
    return sequence.error(ErrorCode::kMalformed, "id", "one text has no second part").got(id);
  }
  out = texts[which];
  return {};
}

/// The parts of a template, of one text or of two.
Status read_pieces(const JsonFields& fields, const char* key, const Parts& texts, Parts& out) {
  const Json* list = fields.find(key);
  if (list == nullptr || !list->is_array()) {
    return fields.error(ErrorCode::kMalformed, key, "no template").want("an array");
  }
  for (const Json& piece : *list) {
    out.emplace_back();
    QUERN_CHECK(
        read_piece(fields, fields.child(piece, std::string(key) + "[]"), texts, out.back()));
    QUERN_CHECK(check_size(fields, out));
  }
  return {};
}

Status template_processing(const JsonFields& fields, Parts& parts) {
  if (parts.size() != 1 && parts.size() != 2) {
    return fields.error(ErrorCode::kUnsupported, "", "a template of that many parts")
        .want("1 or 2")
        .got(std::to_string(parts.size()));
  }
  Parts pieces;
  QUERN_CHECK(read_pieces(fields, parts.size() == 1 ? "single" : "pair", parts, pieces));
  parts = std::move(pieces);
  return {};
}

Status nothing(const JsonFields&, Parts&) { return {}; }

constexpr struct {
  const char* name;
  Status (*read)(const JsonFields&, Parts&);
} kPostProcessors[] = {
    {"TemplateProcessing", template_processing},
    {"ByteLevel", nothing},  // Changes offsets only.
    {"BertProcessing", bert},
    {"RobertaProcessing", roberta},
};

Status read_processor(const JsonFields& fields, Parts& parts) {
  QUERN_TRY(type, fields.text("type"));
  if (type == "Sequence") {
    const Json* list = fields.find("processors");
    if (list == nullptr || !list->is_array()) {
      return fields.error(ErrorCode::kMalformed, "processors", "a sequence has no members");
    }
    for (const Json& member : *list) {
      // The JSON reader's depth limit bounds this recursion.
      QUERN_CHECK(read_processor(fields.child(member, "processors[]"), parts));
    }
    return {};
  }
  for (const auto& row : kPostProcessors) {
    if (type == row.name) return row.read(fields, parts);
  }
  return fields.error(ErrorCode::kUnsupported, "type", "a tokenizer component is not implemented")
      .got(type);
}

}  // namespace

Status read_post_processor(const JsonFields& fields, Template& post_template) {
  Parts parts{std::move(post_template)};
  QUERN_CHECK(read_processor(fields, parts));
  post_template.clear();
  for (const Template& part : parts) {
    post_template.insert(post_template.end(), part.begin(), part.end());
  }
  return {};
}

}  // namespace quern::formats
