#include "convert/sentencepiece_tokenizer.h"

#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "convert/tokenizer_steps.h"
#include "formats/byte_reader.h"
#include "formats/sentencepiece_model.h"

namespace quern::convert {
namespace {

using formats::AddedToken;
using formats::Json;
using formats::PrependScheme;
using formats::SentencePieceModel;
using formats::StepKind;
using formats::TokenizerModel;
using formats::TokenizerSpec;
using formats::TokenizerStep;
using formats::TokenRow;
using formats::TokenType;
using Kind = SentencePieceModel::Kind;

// fairseq's languages of mBART, and those that mBART-50 adds behind them.
constexpr const char* kLanguages[] = {"ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI",
                                      "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ", "ko_KR",
                                      "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU",
                                      "si_LK", "tr_TR", "vi_VN", "zh_CN"};
constexpr const char* kLanguages50[] = {
    "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE", "km_KH",
    "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL", "ps_AF", "pt_XX", "sv_SE", "sw_KE",
    "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA", "gl_ES", "sl_SI"};

TokenizerStep metaspace(StepKind kind, PrependScheme scheme, bool split) {
  TokenizerStep out = step(kind, kMark);
  out.number = static_cast<std::uint32_t>(scheme);
  out.flags = split ? formats::step_flag::kSplit : 0;
  return out;
}

/// One tokenizer in the making.
struct Making {
  const std::string& file;
  const SentencePieceModel& model;
  const TokenizerNotes& notes;
  TokenizerSpec spec;
  std::vector<AddedToken> specials;

  bool flag(const char* key, bool fallback) const {
    const Json* value = notes.config.find(key);
    return value != nullptr && value->is_boolean() ? value->boolean() : fallback;
  }
  std::string name(const char* key, const char* fallback) const {
    std::string text = token_text(notes.config[key]);
    if (text.empty()) text = token_text(notes.map[key]);
    return text.empty() ? fallback : text;
  }

  void row(std::string text, double score, TokenType type = TokenType::kNormal) {
    spec.tokens.push_back(TokenRow{std::move(text), type, true});
    spec.scores.push_back(score);
  }
  void rows(std::size_t first) {
    for (std::size_t i = first; i < model.pieces.size(); ++i) {
      const SentencePieceModel::Piece& piece = model.pieces[i];
      row(piece.text, static_cast<double>(piece.score), piece.type);
    }
  }
  /// The class's own special token of the row made last; notes about it count more.
  void special() {
    AddedToken token;
    token.id = static_cast<std::int32_t>(spec.tokens.size() - 1);
    token.content = spec.tokens.back().text;
    token.special = true;
    specials.push_back(std::move(token));
  }
  /// Control pieces are special, the user's own are not.
  void add_own_tokens() {
    for (AddedToken& token : specials) add_token(spec, std::move(token));
    for (std::size_t i = 0; i < model.pieces.size(); ++i) {
      const SentencePieceModel::Piece& piece = model.pieces[i];
      if (piece.type != TokenType::kControl && piece.type != TokenType::kUserDefined) continue;
      AddedToken token;
      token.id = find_token(spec, piece.text, static_cast<std::int32_t>(i));
      token.content = piece.text;
      token.special = piece.type == TokenType::kControl;
      if (token.id >= 0) add_token(spec, std::move(token));
    }
  }

  Status set_unknown(std::int32_t id) {
    if (id < 0 || static_cast<std::size_t>(id) >= spec.tokens.size()) {
      return Error(ErrorCode::kOutOfRange, "the unknown token lies outside the vocabulary")
          .in_file(file)
          .of("pieces")
          .want("above " + std::to_string(id))
          .got(std::to_string(spec.tokens.size()));
    }
    spec.model_unk = id;
    spec.tokens[static_cast<std::size_t>(id)].type = TokenType::kUnknown;
    return {};
  }

  void charsmap() {
    if (!model.charsmap.empty()) {
      spec.normalizers.push_back(step(StepKind::kPrecompiled, model.charsmap));
    }
  }
  void one_space() { spec.normalizers.push_back(step(StepKind::kReplaceRegex, " {2,}", " ")); }
  /// Words of the text, each with U+2581 in front.
  void unigram(bool split_at_space, bool prefix = true) {
    spec.model = TokenizerModel::kUnigram;
    const PrependScheme scheme = prefix ? PrependScheme::kAlways : PrependScheme::kNever;
    if (split_at_space) spec.pre_tokenizers.push_back(step(StepKind::kWhitespaceSplit));
    spec.pre_tokenizers.push_back(metaspace(StepKind::kMetaspace, scheme, true));
    spec.decoders.push_back(metaspace(StepKind::kDecodeMetaspace, scheme, true));
  }
  /// A piece may be merged from any two others; pieces of low ids merge first.
  void bpe() {
    spec.model = TokenizerModel::kBpeMerges;
    spec.model_flags = formats::model_flag::kByteFallback | formats::model_flag::kFuseUnknown;
    spec.scores.clear();
    std::unordered_map<std::string_view, std::int32_t> ids;
    for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
      ids[spec.tokens[i].text] = static_cast<std::int32_t>(i);
    }
    for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
      const std::string_view text = spec.tokens[i].text;
      if (ids[text] != static_cast<std::int32_t>(i)) continue;
      for (std::size_t at = 1; at < text.size(); ++at) {
        if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
        const auto left = ids.find(text.substr(0, at));
        if (left == ids.end()) continue;
        const auto right = ids.find(text.substr(at));
        if (right == ids.end()) continue;
        spec.merges.push_back({left->second, right->second, static_cast<std::int32_t>(i), ""});
      }
    }
    spec.decoders.push_back(step(StepKind::kDecodeReplaceLiteral, kMark, " "));
    spec.decoders.push_back(step(StepKind::kDecodeByteFallback));
    spec.decoders.push_back(step(StepKind::kDecodeFuse));
  }

  Result<std::int32_t> id_of(const char* key, const std::string& text) const {
    const std::int32_t id = find_token(spec, text);
    if (id >= 0) return id;
    return Error(ErrorCode::kOutOfRange, "a token is not in the vocabulary")
        .in_file(notes.file)
        .of(key)
        .got(formats::quote(text));
  }
};

constexpr std::int32_t kText = TokenizerSpec::kTemplateText;

Status llama(Making& m) {
  m.rows(0);
  QUERN_CHECK(m.set_unknown(m.model.unk_id));
  m.bpe();
  m.spec.model_unk = -1;  // Bytes say what pieces cannot.
  const bool prefix = m.flag("add_prefix_space", true);
  // "legacy": every part of a text begins with U+2581, not the first alone.
  const Json* legacy = m.notes.config.find("legacy");
  const bool always = legacy != nullptr && (legacy->is_null() || legacy->boolean());
  const PrependScheme scheme = !prefix  ? PrependScheme::kNever
                               : always ? PrependScheme::kAlways
                                        : PrependScheme::kFirst;
  m.spec.pre_tokenizers.push_back(metaspace(StepKind::kMetaspace, scheme, false));
  if (prefix) {
    m.spec.decoders.push_back(step(StepKind::kDecodeStrip, " "));
    m.spec.decoders.back().number = 1;
  }
  return {};
}

Status gemma(Making& m) {
  m.rows(0);
  QUERN_CHECK(m.set_unknown(m.model.unk_id));
  m.bpe();
  m.spec.normalizers.push_back(step(StepKind::kReplaceLiteral, " ", kMark));
  return {};
}

Status t5(Making& m) {
  constexpr std::int64_t kMost = 1 << 16;
  const Json* count = m.notes.config.find("extra_ids");
  const std::int64_t extra = count != nullptr && count->is_integer() ? count->integer() : 100;
  if (extra < 0 || extra > kMost) {
    return Error(ErrorCode::kLimit, "the number of extra ids is out of range")
        .in_file(m.notes.file)
        .of("extra_ids")
        .want("0 to " + std::to_string(kMost))
        .got(std::to_string(extra));
  }
  m.rows(0);
  QUERN_CHECK(m.set_unknown(m.model.unk_id));
  for (std::int64_t i = extra - 1; i >= 0; --i) {
    m.row("<extra_id_" + std::to_string(i) + ">", 0);
    m.special();
  }
  m.charsmap();
  m.unigram(true);
  return {};
}

/// fairseq's order: <s>, <pad>, </s>, <unk>, then SentencePiece's pieces without its own first
/// three.
Status fairseq(Making& m, const char* first_key) {
  m.row(m.name(first_key, "<s>"), 0);
  m.row(m.name("pad_token", "<pad>"), 0);
  m.row(m.name("eos_token", "</s>"), 0);
  m.row(m.name("unk_token", "<unk>"), 0);
  m.rows(3);
  return m.set_unknown(3);
}

Status xlm_roberta(Making& m) {
  QUERN_CHECK(fairseq(m, "bos_token"));
  m.row(m.name("mask_token", "<mask>"), 0);
  m.charsmap();
  m.unigram(true, m.flag("add_prefix_space", true));
  return {};
}

template <std::size_t kCount>
void add_languages(Making& m, const char* const (&codes)[kCount]) {
  for (const char* code : codes) {
    m.row(code, 0);
    m.special();
  }
}

Status mbart(Making& m) {
  QUERN_CHECK(fairseq(m, "bos_token"));
  add_languages(m, kLanguages);
  m.row(m.name("mask_token", "<mask>"), 0);
  m.charsmap();
  m.unigram(true);
  return {};
}

Status mbart50(Making& m) {
  QUERN_CHECK(fairseq(m, "cls_token"));
  add_languages(m, kLanguages);
  add_languages(m, kLanguages50);
  m.row(m.name("mask_token", "<mask>"), 0);
  m.charsmap();
  m.one_space();
  m.unigram(false);
  return {};
}

/// Two ends, two masks, 101 placeholders, then SentencePiece's pieces from <unk> on.
Status pegasus(Making& m) {
  const Json* offset = m.notes.config.find("offset");
  constexpr std::int64_t kOffset = 103;
  if (offset != nullptr && offset->integer() != kOffset) {
    return Error(ErrorCode::kUnsupported, "pieces of Pegasus begin at another id")
        .in_file(m.notes.file)
        .of("offset")
        .want(std::to_string(kOffset))
        .got(std::to_string(offset->integer()));
  }
  m.row(m.name("pad_token", "<pad>"), 0);
  m.row(m.name("eos_token", "</s>"), 0);
  m.row(m.name("mask_token_sent", "<mask_1>"), 0);
  m.special();
  m.row(m.name("mask_token", "<mask_2>"), 0);
  for (std::int64_t i = 2; i < kOffset; ++i) {
    m.row("<unk_" + std::to_string(i) + ">", -100);
    m.special();
  }
  m.rows(2);
  QUERN_CHECK(m.set_unknown(m.model.unk_id + static_cast<std::int32_t>(kOffset)));
  m.charsmap();
  if (m.model.charsmap.empty()) {
    m.spec.normalizers.push_back(step(StepKind::kReplaceLiteral, "\n", " "));
  }
  m.one_space();
  m.unigram(false);
  return {};
}

Status camembert(Making& m) {
  m.row("<s>NOTUSED", 0);
  m.row(m.name("pad_token", "<pad>"), 0);
  m.row("</s>NOTUSED", 0);
  m.row(m.name("unk_token", "<unk>"), 0);
  m.row("<unk>NOTUSED", -100);
  m.rows(1);
  m.row(m.name("mask_token", "<mask>"), 0);
  QUERN_CHECK(m.set_unknown(3));
  m.charsmap();
  m.unigram(true, m.flag("add_prefix_space", true));
  return {};
}

// What `add_special` puts around a text.
Status bare(Making& m) {
  m.spec.post_template = {kText};
  return {};
}
Status then_eos(Making& m) {
  m.spec.post_template = {kText, m.spec.ids.eos};
  return {};
}
Status between(Making& m) {
  m.spec.post_template = {m.spec.ids.bos, kText, m.spec.ids.eos};
  return {};
}
Result<std::int32_t> source_language(const Making& m) {
  return m.id_of("src_lang", m.name("src_lang", "en_XX"));
}
Status then_language(Making& m) {
  QUERN_TRY(language, source_language(m));
  m.spec.post_template = {kText, m.spec.ids.eos, language};
  return {};
}
Status after_language(Making& m) {
  QUERN_TRY(language, source_language(m));
  m.spec.post_template = {language, kText, m.spec.ids.eos};
  return {};
}

constexpr DefaultTokens kRoberta = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"};
constexpr DefaultTokens kRobertaLstrip = {"<s>",   "</s>", "<unk>",  "</s>",
                                          "<pad>", "<s>",  "<mask>", true};

struct TokenizerClass {
  const char* name;
  Kind kind;
  Status (*build)(Making&);
  Status (*enclose)(Making&);
  DefaultTokens defaults;
};
constexpr TokenizerClass kClasses[] = {
    {"LlamaTokenizer", Kind::kBpe, llama, bare, {"<s>", "</s>", "<unk>"}},
    {"GemmaTokenizer",
     Kind::kBpe,
     gemma,
     bare,
     {"<bos>", "<eos>", "<unk>", nullptr, "<pad>", nullptr, "<mask>"}},
    {"T5Tokenizer", Kind::kUnigram, t5, then_eos, {nullptr, "</s>", "<unk>", nullptr, "<pad>"}},
    {"XLMRobertaTokenizer", Kind::kUnigram, xlm_roberta, between, kRoberta},
    {"MBartTokenizer", Kind::kUnigram, mbart, then_language, kRobertaLstrip},
    {"MBart50Tokenizer",
     Kind::kUnigram,
     mbart50,
     after_language,
     {nullptr, "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>", true}},
    {"PegasusTokenizer",
     Kind::kUnigram,
     pegasus,
     then_eos,
     {nullptr, "</s>", "<unk>", nullptr, "<pad>", nullptr, "<mask_2>"}},
    {"CamembertTokenizer", Kind::kUnigram, camembert, between, kRobertaLstrip},
};

/// The class of checkpoints whose tokenizer_config.json names none.
constexpr struct {
  const char* model_type;
  const char* name;
} kTypes[] = {
    {"llama", "LlamaTokenizer"},
    {"gemma", "GemmaTokenizer"},
    {"gemma2", "GemmaTokenizer"},
    {"t5", "T5Tokenizer"},
    {"mt5", "T5Tokenizer"},
    {"umt5", "T5Tokenizer"},
    {"xlm-roberta", "XLMRobertaTokenizer"},
    {"mbart", "MBartTokenizer"},
    {"pegasus", "PegasusTokenizer"},
    {"camembert", "CamembertTokenizer"},
};

std::string class_name(const formats::CheckpointDir& directory, const TokenizerNotes& notes) {
  std::string name = notes.config["tokenizer_class"].string();
  if (name.empty()) name = directory.config_json["tokenizer_class"].string();
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  const std::string& type = directory.config_json["model_type"].string();
  for (const auto& row : kTypes) {
    if (name.empty() && type == row.model_type) name = row.name;
  }
  return name;
}

Result<const TokenizerClass*> find_class(const formats::CheckpointDir& directory,
                                         const TokenizerNotes& notes) {
  const std::string name = class_name(directory, notes);
  std::string known;
  for (const TokenizerClass& row : kClasses) {
    if (name == row.name) return &row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  if (name.empty()) {
    return Error(ErrorCode::kMissing, "nothing names the class of the tokenizer")
        .in_file(notes.file)
        .of("tokenizer_class")
        .want(known);
  }
  return Error(ErrorCode::kUnsupported,
               "no tokenizer of this class is read from a SentencePiece model")
      .in_file(notes.file)
      .of("tokenizer_class")
      .want(known)
      .got(formats::quote(name));
}

/// add_bos_token and add_eos_token count more than the class's own template.
void set_ends(Making& m) {
  const Json& config = m.notes.config;
  if (!config.contains("add_bos_token") && !config.contains("add_eos_token")) return;
  m.spec.post_template.clear();
  if (m.flag("add_bos_token", false) && m.spec.ids.bos >= 0) {
    m.spec.post_template.push_back(m.spec.ids.bos);
  }
  m.spec.post_template.push_back(kText);
  if (m.flag("add_eos_token", false) && m.spec.ids.eos >= 0) {
    m.spec.post_template.push_back(m.spec.ids.eos);
  }
}

}  // namespace

Result<TokenizerSpec> read_sentencepiece_tokenizer(const formats::CheckpointDir& directory,
                                                   const TokenizerNotes& notes) {
  const std::string& file = directory.sentencepiece_model;
  QUERN_TRY(found, find_class(directory, notes));
  QUERN_TRY(model, SentencePieceModel::open(file));
  if (model.kind != found->kind) {
    return Error(ErrorCode::kMismatch, "the class of the tokenizer wants another kind of model")
        .in_file(file)
        .of("trainer_spec.model_type")
        .want(std::string(formats::name_of(found->kind)) + " for " + found->name)
        .got(formats::name_of(model.kind));
  }
  Making making{file, model, notes, {}, {}};
  QUERN_CHECK(found->build(making));
  QUERN_CHECK(place_added_tokens(making.spec, notes, found->defaults));
  making.add_own_tokens();
  if (making.spec.model == TokenizerModel::kUnigram) {
    making.spec.scores.resize(making.spec.tokens.size(), 0.0);
  }
  QUERN_CHECK(found->enclose(making));
  set_ends(making);
  return std::move(making.spec);
}

}  // namespace quern::convert
