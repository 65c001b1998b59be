#include "formats/tokenizer_json.h"

#include <string>
#include <unordered_map>

#include "formats/tokenizer_fields.h"

namespace quern::formats {
namespace {

Status read_optional_stage(const JsonFields& root, const char* key, std::vector<TokenizerStep>& out,
                           Status (*read)(const JsonFields&, std::vector<TokenizerStep>&)) {
  if (root.find(key) == nullptr) return {};
  QUERN_TRY(section, root.object(key));
  return read(section, out);
}

Result<AddedToken> read_added_token(const JsonFields& fields) {
  AddedToken token;
  QUERN_TRY(content, fields.text("content"));
  QUERN_TRY(special, fields.flag_or("special", false));
  QUERN_TRY(single_word, fields.flag_or("single_word", false));
  QUERN_TRY(lstrip, fields.flag_or("lstrip", false));
  QUERN_TRY(rstrip, fields.flag_or("rstrip", false));
  QUERN_TRY(normalized, fields.flag_or("normalized", !special));
  if (content.size() > kMaxTokenBytes) {
    return fields.error(ErrorCode::kLimit, "content", "a token is too long")
        .got(std::to_string(content.size()));
  }
  token.content = std::move(content);
  token.special = special;
  token.single_word = single_word;
  token.lstrip = lstrip;
  token.rstrip = rstrip;
  token.normalized = normalized;
  return token;
}

/// Gives an added token its row. A special one is taken from the model, so that no plain text can
/// become it; text that may hold control tokens is read as the library reads all text.
Status place_added(const JsonFields& root, const AddedToken& token, TokenizerSpec& spec) {
  const auto id = static_cast<std::size_t>(token.id);
  if (id >= kMaxVocabRows) {
    return root.error(ErrorCode::kLimit, "added_tokens", "a token id is too large")
        .got(std::to_string(id));
  }
  if (spec.tokens.size() <= id) spec.tokens.resize(id + 1);
  TokenRow& row = spec.tokens[id];
  if (row.type == TokenType::kNone) row.text = token.content;
  if (row.type != TokenType::kUnknown) {
    row.type = token.special ? TokenType::kControl : TokenType::kUserDefined;
  }
  if (token.special) {
    row.in_trusted_model = row.in_trusted_model || row.in_model;
    row.in_model = false;
  }
  return {};
}

Status read_added_tokens(const JsonFields& root, TokenizerSpec& spec) {
  const Json* list = root.find("added_tokens");
  if (list == nullptr) return {};
  if (!list->is_array()) {
    return root.error(ErrorCode::kMalformed, "added_tokens", "no list").want("an array");
  }
  std::unordered_map<std::string, std::int32_t> known;
  std::int32_t next = 0;
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i].type == TokenType::kNone) continue;
    known[spec.tokens[i].text] = static_cast<std::int32_t>(i);
    ++next;  // The next free id is the number of tokens, as the library counts them.
  }
  std::size_t index = 0;
  for (const Json& item : *list) {
    const JsonFields fields = root.child(item, "added_tokens[" + std::to_string(index++) + "]");
    QUERN_TRY(token, read_added_token(fields));
    if (token.content.empty()) continue;
    const auto [it, is_new] = known.emplace(token.content, next);
    if (is_new) ++next;
    token.id = it->second;
    QUERN_CHECK(place_added(root, token, spec));
    spec.added.push_back(std::move(token));
  }
  return {};
}

Status check_template(const JsonFields& root, const TokenizerSpec& spec) {
  for (const std::int32_t id : spec.post_template) {
    if (id != TokenizerSpec::kTemplateText && static_cast<std::size_t>(id) >= spec.tokens.size()) {
      return root.error(ErrorCode::kOutOfRange, "post_processor", "an id is no token")
          .got(std::to_string(id));
    }
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(const Json& root_value, std::string_view file) {
  const JsonFields root(root_value, "", file);
  TokenizerSpec spec;
  QUERN_TRY(version, root.text_or("version", "1.0"));
  if (version != "1.0") {
    return root.error(ErrorCode::kUnsupported, "version", "another version of tokenizer.json")
        .want("1.0")
        .got(version);
  }
  QUERN_CHECK(read_optional_stage(root, "normalizer", spec.normalizers, read_normalizer));
  QUERN_CHECK(read_optional_stage(root, "pre_tokenizer", spec.pre_tokenizers, read_pre_tokenizer));
  QUERN_CHECK(read_optional_stage(root, "decoder", spec.decoders, read_decoder));
  QUERN_TRY(model, root.object("model"));
  QUERN_CHECK(read_tokenizer_model(model, spec));
  QUERN_CHECK(read_added_tokens(root, spec));
  if (root.find("post_processor") != nullptr) {
    QUERN_TRY(post, root.object("post_processor"));
    QUERN_CHECK(read_post_processor(post, spec.post_template));
  }
  QUERN_CHECK(check_template(root, spec));
  if (!spec.scores.empty()) spec.scores.resize(spec.tokens.size(), 0.0);
  return spec;
}

Result<TokenizerSpec> read_tokenizer_json_text(std::string_view text, std::string_view file) {
  QUERN_TRY(root, parse_json(text, file));
  return read_tokenizer_json(root, file);
}

}  // namespace quern::formats
