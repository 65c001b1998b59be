// The `model` section of tokenizer.json: BPE, Unigram, WordPiece, WordLevel.
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "formats/tokenizer_fields.h"
#include "formats/tokenizer_json.h"

namespace quern::formats {
namespace {

using Vocabulary = std::unordered_map<std::string_view, std::int32_t>;

Status add_row(const JsonFields& fields, TokenizerSpec& spec, std::uint64_t id,
               const std::string& text) {
  if (id >= kMaxVocabRows) {
    return fields.error(ErrorCode::kLimit, "vocab", "a token id is too large")
        .got(std::to_string(id));
  }
  if (text.size() > kMaxTokenBytes) {
    return fields.error(ErrorCode::kLimit, "vocab", "a token is too long")
        .want("at most 65536 bytes")
        .got(std::to_string(text.size()));
  }
  if (spec.tokens.size() <= id) spec.tokens.resize(id + 1);
  spec.tokens[id] = TokenRow{text, TokenType::kNormal, true};
  return {};
}

/// A vocabulary written as an object from text to id. The views point into the JSON.
Result<Vocabulary> read_vocabulary(const JsonFields& fields, TokenizerSpec& spec) {
  QUERN_TRY(section, fields.object("vocab"));
  Vocabulary vocabulary;
  vocabulary.reserve(section.json().size());
  for (const auto& [text, id] : section.json().items()) {
    if (!id.is_unsigned()) {
      return fields.error(ErrorCode::kMalformed, "vocab", "a token id is no small integer")
          .got(dump_json(id).substr(0, 40));
    }
    QUERN_CHECK(add_row(fields, spec, id.unsigned_integer(), text));
    vocabulary.emplace(std::string_view(text), static_cast<std::int32_t>(id.integer()));
  }
  return vocabulary;
}

std::int32_t id_of(const Vocabulary& vocabulary, std::string_view text) {
  const auto it = vocabulary.find(text);
  return it == vocabulary.end() ? -1 : it->second;
}

/// One merge as written: "a b", or ["a", "b"].
bool split_merge(const Json& item, std::string_view& left, std::string_view& right) {
  if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
    left = item[0].string();
    right = item[1].string();
    return true;
  }
  if (!item.is_string()) return false;
  const std::string_view line = item.string();
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    return false;
  }
  left = line.substr(0, space);
  right = line.substr(space + 1);
  return true;
}

Status read_merges(const JsonFields& fields, const Vocabulary& vocabulary, TokenizerSpec& spec) {
  const Json* list = fields.find("merges");
  if (list == nullptr || !list->is_array()) {
    return fields.error(ErrorCode::kMissing, "merges", "the merges are absent").want("an array");
  }
  spec.merges.reserve(list->size());
  std::string joined;
  for (const Json& item : *list) {
    if (item.is_string() && item.string().rfind("#version", 0) == 0) continue;
    std::string_view left, right;
    if (!split_merge(item, left, right)) {
      return fields.error(ErrorCode::kMalformed, "merges", "a merge is not two tokens")
          .got(dump_json(item).substr(0, 80));
    }
    Merge merge;
    merge.left = id_of(vocabulary, left);
    merge.right = id_of(vocabulary, right);
    joined = left;
    if (right.size() >= spec.continuing_prefix.size()) {
      joined += right.substr(spec.continuing_prefix.size());
    }
    merge.result = id_of(vocabulary, joined);
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) {
      return fields
          .error(ErrorCode::kMismatch, "merges", "a merge names no token of the vocabulary")
          .got(dump_json(item).substr(0, 80));
    }
    spec.merges.push_back(std::move(merge));
  }
  return {};
}

void mark_bytes(TokenizerSpec& spec) {
  for (TokenRow& row : spec.tokens) {
    if (byte_of_token(row.text) >= 0) row.type = TokenType::kByte;
  }
}

void set_unknown(TokenizerSpec& spec, std::int32_t id) {
  spec.model_unk = id >= 0 ? id : -2;
  if (id >= 0) {
    spec.tokens[static_cast<std::size_t>(id)].type = TokenType::kUnknown;
    spec.ids.unk = id;
  }
}

Status read_bpe(const JsonFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kBpeMerges;
  QUERN_TRY(prefix, fields.text_or("continuing_subword_prefix", ""));
  QUERN_TRY(suffix, fields.text_or("end_of_word_suffix", ""));
  QUERN_TRY(fallback, fields.flag_or("byte_fallback", false));
  QUERN_TRY(fuse, fields.flag_or("fuse_unk", false));
  QUERN_TRY(ignore, fields.flag_or("ignore_merges", false));
  spec.continuing_prefix = std::move(prefix);
  spec.word_suffix = std::move(suffix);
  spec.model_flags = (fallback ? model_flag::kByteFallback : 0) |
                     (fuse ? model_flag::kFuseUnknown : 0) |
                     (ignore ? model_flag::kIgnoreMerges : 0);
  if (const Json* dropout = fields.find("dropout");
      dropout != nullptr && !(dropout->is_number() && dropout->number() == 0.0)) {
    return fields.error(ErrorCode::kUnsupported, "dropout", "random merges are not implemented");
  }
  QUERN_TRY(vocabulary, read_vocabulary(fields, spec));
  QUERN_CHECK(read_merges(fields, vocabulary, spec));
  if (fallback) mark_bytes(spec);
  if (fields.find("unk_token") != nullptr) {
    QUERN_TRY(unknown, fields.text("unk_token"));
    set_unknown(spec, id_of(vocabulary, unknown));
  }
  return {};
}

Status read_unigram(const JsonFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kUnigram;
  const Json* list = fields.find("vocab");
  if (list == nullptr || !list->is_array()) {
    return fields.error(ErrorCode::kMissing, "vocab", "the vocabulary is absent").want("an array");
  }
  QUERN_TRY(fallback, fields.flag_or("byte_fallback", false));
  spec.model_flags = fallback ? model_flag::kByteFallback : 0;
  spec.scores.reserve(list->size());
  for (const Json& item : *list) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
      return fields.error(ErrorCode::kMalformed, "vocab", "a piece has no text and score")
          .got(dump_json(item).substr(0, 80));
    }
    QUERN_CHECK(add_row(fields, spec, spec.tokens.size(), item[0].string()));
    spec.scores.push_back(library_score(item[1].number()));
  }
  if (fallback) mark_bytes(spec);
  if (fields.find("unk_id") != nullptr) {
    QUERN_TRY(unknown, fields.number("unk_id"));
    if (unknown >= spec.tokens.size()) {
      return fields.error(ErrorCode::kOutOfRange, "unk_id", "the unknown token is no token")
          .got(std::to_string(unknown));
    }
    set_unknown(spec, static_cast<std::int32_t>(unknown));
  }
  return {};
}

Status read_wordpiece(const JsonFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kWordPiece;
  QUERN_TRY(prefix, fields.text_or("continuing_subword_prefix", "##"));
  QUERN_TRY(unknown, fields.text_or("unk_token", "[UNK]"));
  QUERN_TRY(limit, fields.number_or("max_input_chars_per_word", 100));
  spec.continuing_prefix = std::move(prefix);
  spec.max_word_chars = limit;
  QUERN_TRY(vocabulary, read_vocabulary(fields, spec));
  set_unknown(spec, id_of(vocabulary, unknown));
  return {};
}

Status read_wordlevel(const JsonFields& fields, TokenizerSpec& spec) {
  spec.model = TokenizerModel::kWordLevel;
  QUERN_TRY(unknown, fields.text_or("unk_token", "<unk>"));
  QUERN_TRY(vocabulary, read_vocabulary(fields, spec));
  set_unknown(spec, id_of(vocabulary, unknown));
  return {};
}

constexpr struct {
  const char* name;
  Status (*read)(const JsonFields&, TokenizerSpec&);
} kModels[] = {{"BPE", read_bpe},
               {"Unigram", read_unigram},
               {"WordPiece", read_wordpiece},
               {"WordLevel", read_wordlevel}};

/// Files older than the `type` key: told apart by their keys.
std::string legacy_type(const JsonFields& fields) {
  if (fields.find("merges") != nullptr) return "BPE";
  if (const Json* vocab = fields.find("vocab"); vocab != nullptr && vocab->is_array()) {
    return "Unigram";
  }
  return fields.find("max_input_chars_per_word") != nullptr ? "WordPiece" : "WordLevel";
}

}  // namespace

double library_score(double score) {
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), std::fabs(score)).ptr;
  std::uint64_t digits = 0;
  int exponent = 0;
  bool behind_point = false;
  for (const char* at = text.data(); at != end; ++at) {
    if (*at == 'e') {
      int written = 0;
      const char* number = at + 1 + (at[1] == '+' ? 1 : 0);
      if (std::from_chars(number, end, written).ec != std::errc()) return score;
      exponent += written;
      break;
    }
    if (*at == '.') {
      behind_point = true;
    } else if (*at >= '0' && *at <= '9') {
      digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
      exponent -= behind_point ? 1 : 0;
    } else {
      return score;  // Infinity or NaN.
    }
  }
  if (exponent > 0 || exponent < -300) return score;
  double power = 1.0;
  const std::string power_text = "1e" + std::to_string(-exponent);
  std::from_chars(power_text.data(), power_text.data() + power_text.size(), power);
  return std::copysign(static_cast<double>(digits) / power, score);
}

Status read_tokenizer_model(const JsonFields& fields, TokenizerSpec& spec) {
  QUERN_TRY(type, fields.text_or("type", legacy_type(fields)));
  for (const auto& row : kModels) {
    if (type == row.name) return row.read(fields, spec);
  }
  return fields.error(ErrorCode::kUnsupported, "type", "a tokenizer model is not implemented")
      .got(type);
}

}  // namespace quern::formats
