#include "convert/gguf_pipelines.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "convert/gguf_pre_table.h"
#include "convert/tokenizer_steps.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {

using formats::StepKind;
using formats::TokenizerModel;
using formats::TokenizerSpec;
using formats::TokenizerStep;
using formats::TokenRow;
using formats::TokenType;
namespace flag = formats::step_flag;
namespace model_flag = formats::model_flag;

namespace {

TokenizerStep metaspace(StepKind kind, bool prepends) {
  TokenizerStep out = step(kind, kMark);
  out.number = static_cast<std::uint32_t>(prepends ? formats::PrependScheme::kAlways
                                                   : formats::PrependScheme::kNever);
  out.flags = flag::kSplit;
  return out;
}

bool has_number_between(std::string_view text, std::string_view front, char back) {
  if (text.size() < front.size() + 2 || text.substr(0, front.size()) != front ||
      text.back() != back) {
    return false;
  }
  const std::string_view inner = text.substr(front.size(), text.size() - front.size() - 1);
  return std::all_of(inner.begin(), inner.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Rows that a converter invented to fill the embedding matrix.
bool is_padding(const TokenRow& row) {
  return row.type != TokenType::kNormal && row.type != TokenType::kControl &&
         (has_number_between(row.text, "[PAD", ']') || has_number_between(row.text, "<pad", '>'));
}

/// Phi-3's GGUF has no flag for it: what follows its special tokens loses its white space.
bool strips_like_phi3(const GgufHints& hints) {
  std::string name;
  for (const char c : hints.model_name) {
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return hints.architecture == "phi3" || name.find("phi-3") != std::string::npos ||
         name.find("phi3") != std::string::npos;
}

/// Control, unknown and user-defined rows become added tokens.
void set_added(TokenizerSpec& spec, const GgufHints& hints, bool user_normalized) {
  const bool phi3 = spec.gguf_model == "llama" && strips_like_phi3(hints);
  const bool mask_strips = spec.gguf_pre.rfind("jina-v2", 0) == 0 || spec.gguf_pre == "modern-bert";
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenRow& row = spec.tokens[i];
    const bool cut = row.type == TokenType::kControl || row.type == TokenType::kUserDefined ||
                     row.type == TokenType::kUnknown;
    if (!cut || row.text.empty() || is_padding(row)) continue;
    formats::AddedToken token;
    token.id = static_cast<std::int32_t>(i);
    token.content = row.text;
    token.special = row.type != TokenType::kUserDefined;
    token.normalized = !token.special && user_normalized;
    token.rstrip = phi3 && row.text != "<unk>" && row.text != "<s>" && row.text != "<|endoftext|>";
    token.lstrip = mask_strips && (row.text == "<mask>" || row.text == "[MASK]");
    spec.added.push_back(std::move(token));
  }
}

/// Which rows the model may produce from text: never control tokens.
void set_in_model(TokenizerSpec& spec, bool with_user, bool with_bytes) {
  for (TokenRow& row : spec.tokens) {
    row.in_model = row.type == TokenType::kNormal || (with_bytes && row.type == TokenType::kByte) ||
                   (with_user && row.type == TokenType::kUserDefined && !is_padding(row));
  }
}

bool is_set(std::int32_t value, bool fallback) { return value < 0 ? fallback : value != 0; }

void set_template(TokenizerSpec& spec, std::int32_t front, std::int32_t back) {
  spec.post_template.clear();
  if (front >= 0) spec.post_template.push_back(front);
  spec.post_template.push_back(TokenizerSpec::kTemplateText);
  if (back >= 0) spec.post_template.push_back(back);
}

void set_bos_eos(TokenizerSpec& spec, bool bos, bool eos) {
  set_template(spec, is_set(spec.gguf_flags.add_bos, bos) ? spec.ids.bos : -1,
               is_set(spec.gguf_flags.add_eos, eos) ? spec.ids.eos : -1);
}

bool has_bytes(const TokenizerSpec& spec) {
  return std::any_of(spec.tokens.begin(), spec.tokens.end(),
                     [](const TokenRow& row) { return row.type == TokenType::kByte; });
}

/// U+2581 to spaces, byte tokens to characters, one leading space off where one was put.
void set_sentencepiece_decoders(TokenizerSpec& spec, bool prefix) {
  spec.decoders.push_back(step(StepKind::kDecodeReplaceLiteral, kMark, " "));
  spec.decoders.push_back(step(StepKind::kDecodeByteFallback));
  spec.decoders.push_back(step(StepKind::kDecodeFuse));
  if (!prefix) return;
  spec.decoders.push_back(step(StepKind::kDecodeStrip, " "));
  spec.decoders.back().number = 1;
}

Status set_gpt2(TokenizerSpec& spec, const GgufHints& hints) {
  const GgufPre* pre = find_gguf_pre(spec.gguf_pre);
  if (pre == nullptr) {
    return Error(ErrorCode::kUnsupported, "an unknown pre-tokenizer")
        .of("tokenizer.ggml.pre")
        .got(spec.gguf_pre);
  }
  if (pre->is_nfc) spec.normalizers.push_back(step(StepKind::kNfc));
  spec.pre_tokenizers = pre_tokenizers_of(*pre);
  spec.decoders.push_back(step(StepKind::kDecodeByteLevel));
  spec.model = TokenizerModel::kBpeMerges;
  spec.model_flags = pre->ignore_merges ? model_flag::kIgnoreMerges : 0;
  if (spec.merges.empty()) {  // Ranks are the ids, as in tiktoken.
    spec.model = TokenizerModel::kBpeScores;
    spec.scores.clear();
    for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
      spec.scores.push_back(-static_cast<double>(i));
    }
    spec.gguf_has_scores = false;
  }
  set_added(spec, hints, pre->user_normalized);
  set_in_model(spec, !pre->ignore_merges, true);
  set_bos_eos(spec, pre->adds_bos, false);
  return {};
}

/// The unknown token of SentencePiece vocabularies is row 0 unless said otherwise.
void set_sentencepiece_unknown(TokenizerSpec& spec) {
  if (spec.ids.unk >= 0) {
    spec.model_unk = spec.ids.unk;
  } else if (!spec.tokens.empty()) {
    spec.model_unk = 0;
  }
}

/// What the BPE pipelines of SentencePiece share behind their normalizers.
void set_sentencepiece_bpe(TokenizerSpec& spec, const GgufHints& hints, TokenizerModel model,
                           bool prefix) {
  set_sentencepiece_decoders(spec, prefix);
  spec.model = model;
  spec.model_flags = model_flag::kByteFallback | model_flag::kFuseUnknown;
  set_sentencepiece_unknown(spec);
  set_added(spec, hints, false);
  set_in_model(spec, true, true);
  set_bos_eos(spec, true, false);
}

Status set_llama(TokenizerSpec& spec, const GgufHints& hints) {
  if (spec.scores.empty()) {
    return Error(ErrorCode::kMissing, "the scores of the pieces are absent")
        .of("tokenizer.ggml.scores");
  }
  const bool prefix = is_set(spec.gguf_flags.add_space_prefix, true);
  if (prefix) spec.normalizers.push_back(step(StepKind::kPrepend, kMark));
  spec.normalizers.push_back(step(StepKind::kReplaceLiteral, " ", kMark));
  set_sentencepiece_bpe(spec, hints, TokenizerModel::kBpeScores, prefix);
  return {};
}

Status set_gemma4(TokenizerSpec& spec, const GgufHints& hints) {
  spec.normalizers.push_back(step(StepKind::kReplaceLiteral, " ", kMark));
  set_sentencepiece_bpe(spec, hints, TokenizerModel::kBpeMerges, false);
  return {};
}

Status set_bert(TokenizerSpec& spec, const GgufHints& hints) {
  spec.normalizers.push_back(step(StepKind::kBertNormalizer));
  spec.normalizers.back().flags = flag::kCleanText | flag::kChineseChars |
                                  (hints.strip_accents ? flag::kDropAccents : 0U) |
                                  (hints.lowercase ? flag::kLower : 0U);
  spec.pre_tokenizers.push_back(step(StepKind::kBertPreTokenizer));
  spec.decoders.push_back(step(StepKind::kDecodeWordPiece, "##"));
  spec.decoders.back().flags = flag::kCleanup;
  spec.model = TokenizerModel::kWordPiece;
  spec.model_flags = model_flag::kPhantomSpace;
  spec.model_unk = spec.ids.unk >= 0 ? spec.ids.unk : -2;
  set_added(spec, hints, false);
  set_in_model(spec, true, true);
  const std::int32_t front = spec.ids.cls >= 0 ? spec.ids.cls : spec.ids.bos;
  const std::int32_t back = spec.ids.sep >= 0 ? spec.ids.sep : spec.ids.eos;
  const bool closes = is_set(spec.gguf_flags.add_sep, is_set(spec.gguf_flags.add_eos, true));
  set_template(spec, is_set(spec.gguf_flags.add_bos, true) ? front : -1, closes ? back : -1);
  return {};
}

Status set_t5(TokenizerSpec& spec, const GgufHints& hints) {
  if (spec.scores.empty()) {
    return Error(ErrorCode::kMissing, "the scores of the pieces are absent")
        .of("tokenizer.ggml.scores");
  }
  const bool prefix = is_set(spec.gguf_flags.add_space_prefix, true);
  if (!hints.charsmap.empty()) {
    spec.normalizers.push_back(step(StepKind::kPrecompiled, hints.charsmap));
  }
  if (is_set(spec.gguf_flags.remove_extra_whitespaces, true)) {
    spec.normalizers.push_back(step(StepKind::kCollapseSpaces));
  }
  spec.pre_tokenizers.push_back(metaspace(StepKind::kMetaspace, prefix));
  spec.model = TokenizerModel::kUnigram;
  if (has_bytes(spec)) {
    spec.model_flags = model_flag::kByteFallback;
    set_sentencepiece_decoders(spec, prefix);
  } else {
    spec.decoders.push_back(metaspace(StepKind::kDecodeMetaspace, prefix));
  }
  for (double& score : spec.scores) score = formats::library_score(score);
  spec.model_unk = spec.ids.unk;
  set_added(spec, hints, false);
  set_in_model(spec, true, false);
  set_bos_eos(spec, false, true);
  return {};
}

constexpr struct {
  const char* model;
  Status (*set)(TokenizerSpec&, const GgufHints&);
} kPipelines[] = {
    {"gpt2", set_gpt2}, {"llama", set_llama},   {"bert", set_bert},
    {"t5", set_t5},     {"gemma4", set_gemma4},
};

}  // namespace

Status set_gguf_pipeline(TokenizerSpec& spec, const GgufHints& hints) {
  for (const auto& row : kPipelines) {
    if (spec.gguf_model == row.model) return row.set(spec, hints);
  }
  return Error(ErrorCode::kUnsupported, "an unknown tokenizer model")
      .of("tokenizer.ggml.model")
      .want("gpt2, llama, bert, t5 or gemma4")
      .got(spec.gguf_model);
}

}  // namespace quern::convert
