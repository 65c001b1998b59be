#include "formats/tokenizer_fields.h"

#include "formats/tokenizer_json.h"

namespace quern::formats {

Error JsonFields::error(ErrorCode code, const char* key, std::string message) const {
  std::string field = path_;
  if (*key != '\0') field += (field.empty() ? "" : ".") + std::string(key);
  return Error(code, std::move(message)).in_file(std::string(file_)).of(std::move(field));
}

const Json* JsonFields::find(const char* key) const {
  const Json* found = object_->find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

Result<std::string> JsonFields::text(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return error(ErrorCode::kMissing, key, "a tokenizer field is absent");
  if (!value->is_string()) {
    return error(ErrorCode::kMalformed, key, "a tokenizer field has another type").want("a string");
  }
  return value->string();
}

Result<std::string> JsonFields::text_or(const char* key, std::string fallback) const {
  if (find(key) == nullptr) return fallback;
  return text(key);
}

Result<bool> JsonFields::flag(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return error(ErrorCode::kMissing, key, "a tokenizer field is absent");
  if (!value->is_boolean()) {
    return error(ErrorCode::kMalformed, key, "a tokenizer field has another type").want("a bool");
  }
  return value->boolean();
}

Result<bool> JsonFields::flag_or(const char* key, bool fallback) const {
  if (find(key) == nullptr) return fallback;
  return flag(key);
}

Result<std::uint32_t> JsonFields::number(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return error(ErrorCode::kMissing, key, "a tokenizer field is absent");
  if (!value->is_integer()) {
    return error(ErrorCode::kMalformed, key, "a tokenizer field has another type")
        .want("an integer");
  }
  const bool fits = value->is_unsigned() && value->unsigned_integer() <= 0x7fffffffu;
  if (!fits) {
    return error(ErrorCode::kOutOfRange, key, "a number is out of range").want("0 … 2147483647");
  }
  return static_cast<std::uint32_t>(value->unsigned_integer());
}

Result<std::uint32_t> JsonFields::number_or(const char* key, std::uint32_t fallback) const {
  if (find(key) == nullptr) return fallback;
  return number(key);
}

Result<JsonFields> JsonFields::object(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return error(ErrorCode::kMissing, key, "a tokenizer section is absent");
  if (!value->is_object()) {
    return error(ErrorCode::kMalformed, key, "a tokenizer section has another type")
        .want("an object");
  }
  return child(*value, key);
}

Status read_tokenizer_stage(const JsonFields& fields, std::span<const TokenizerComponent> table,
                            const char* list_key, std::vector<TokenizerStep>& out) {
  QUERN_TRY(type, fields.text("type"));
  if (type == "Sequence") {
    const Json* list = fields.find(list_key);
    if (list == nullptr || !list->is_array()) {
      return fields.error(ErrorCode::kMalformed, list_key, "a sequence has no members")
          .want("an array");
    }
    std::size_t i = 0;
    for (const Json& member : *list) {
      const std::string name = std::string(list_key) + "[" + std::to_string(i++) + "]";
      // The JSON reader's depth limit bounds this recursion.
      QUERN_CHECK(read_tokenizer_stage(fields.child(member, name), table, list_key, out));
    }
    return {};
  }
  for (const TokenizerComponent& component : table) {
    if (type == component.name) return component.read(fields, out);
  }
  return fields.error(ErrorCode::kUnsupported, "type", "a tokenizer component is not implemented")
      .got(type);
}

Status read_tokenizer_pattern(const JsonFields& fields, StepKind literal, StepKind regex,
                              TokenizerStep& step) {
  QUERN_TRY(pattern, fields.object("pattern"));
  const bool is_regex = pattern.find("Regex") != nullptr;
  step.kind = is_regex ? regex : literal;
  QUERN_TRY(text, pattern.text(is_regex ? "Regex" : "String"));
  step.text = std::move(text);
  return {};
}

Result<SplitBehavior> read_split_behavior(const JsonFields& fields, const char* fallback) {
  static constexpr struct {
    const char* name;
    SplitBehavior behavior;
  } kNames[] = {{"Removed", SplitBehavior::kRemoved},
                {"Isolated", SplitBehavior::kIsolated},
                {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
                {"MergedWithNext", SplitBehavior::kMergedWithNext},
                {"Contiguous", SplitBehavior::kContiguous}};
  QUERN_TRY(name, fields.text_or("behavior", fallback));
  for (const auto& row : kNames) {
    if (name == row.name) return row.behavior;
  }
  return fields.error(ErrorCode::kUnsupported, "behavior", "an unknown way to split").got(name);
}

Result<TokenizerStep> read_metaspace(const JsonFields& fields, StepKind kind) {
  static constexpr struct {
    const char* name;
    PrependScheme scheme;
  } kNames[] = {{"first", PrependScheme::kFirst},
                {"never", PrependScheme::kNever},
                {"always", PrependScheme::kAlways}};
  TokenizerStep step;
  step.kind = kind;
  QUERN_TRY(replacement, fields.text("replacement"));
  QUERN_TRY(scheme, fields.text_or("prepend_scheme", "always"));
  QUERN_TRY(prefix, fields.flag_or("add_prefix_space", true));
  QUERN_TRY(split, fields.flag_or("split", true));
  if (replacement.empty()) {
    return fields.error(ErrorCode::kMalformed, "replacement", "the replacement is empty")
        .want("one character");
  }
  step.text = std::move(replacement);
  step.flags = split ? step_flag::kSplit : 0;
  if (!prefix && fields.find("prepend_scheme") == nullptr) scheme = "never";
  for (const auto& row : kNames) {
    if (scheme == row.name) {
      step.number = static_cast<std::uint32_t>(row.scheme);
      return step;
    }
  }
  return fields.error(ErrorCode::kUnsupported, "prepend_scheme", "an unknown scheme").got(scheme);
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace quern::formats
