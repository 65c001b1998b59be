// A pipeline as GGUF's tokenizer metadata.
#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "convert/gguf_pipelines.h"
#include "convert/gguf_pre_table.h"
#include "convert/gguf_tokenizer.h"
#include "convert/piece_scores.h"

namespace quern::convert {

using formats::StepKind;
using formats::TokenizerModel;
using formats::TokenizerSpec;
using formats::TokenRow;
using formats::TokenType;
namespace model_flag = formats::model_flag;

namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

/// A pattern without the escapes that change nothing.
std::string canonical(std::string_view pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (pattern[i] == '\\' && next != '"' && next != '\'') {
      out += pattern[i++];  // Both characters, so that an escaped backslash stays one.
    } else if (pattern[i] == '\\') {
      continue;
    }
    if (i < pattern.size()) out += pattern[i];
  }
  return out;
}

bool are_equal(std::vector<formats::TokenizerStep> steps, const GgufPre& row) {
  for (auto& step : steps) step.text = canonical(step.text);
  return steps == pre_tokenizers_of(row);
}

bool is_byte_level_bpe(const TokenizerSpec& spec, const GgufPre& row) {
  const std::size_t normalizers = row.is_nfc ? 1 : 0;
  const bool ignores = (spec.model_flags & model_flag::kIgnoreMerges) != 0;
  return spec.normalizers.size() == normalizers &&
         (normalizers == 0 || spec.normalizers[0].kind == StepKind::kNfc) &&
         ignores == row.ignore_merges && are_equal(spec.pre_tokenizers, row);
}

/// Rewrites WordPiece's texts as GGUF has them: U+2581 before word starts, no mark on
/// continuations.
void to_phantom_space(TokenizerSpec& spec) {
  for (TokenRow& row : spec.tokens) {
    if (row.type == TokenType::kControl || row.type == TokenType::kNone) continue;
    if (row.type == TokenType::kUnknown) {
      row.type = TokenType::kControl;
    } else if (row.text.rfind(spec.continuing_prefix, 0) == 0 && !spec.continuing_prefix.empty()) {
      row.text.erase(0, spec.continuing_prefix.size());
    } else {
      row.text.insert(0, kMark);
    }
  }
}

bool begins_and_ends(TokenizerSpec& spec) {
  const auto& items = spec.post_template;
  const bool front = items.size() > 1 && items.front() >= 0;
  const bool back = items.size() > 1 && items.back() >= 0;
  if (items.size() != std::size_t{1} + front + back) return false;
  spec.gguf_flags.add_bos = front ? 1 : 0;
  spec.gguf_flags.add_eos = back ? 1 : 0;
  if (front && spec.ids.bos < 0) spec.ids.bos = items.front();
  if (back && spec.ids.eos < 0) spec.ids.eos = items.back();
  return (!front || spec.ids.bos == items.front()) && (!back || spec.ids.eos == items.back());
}

bool name_bpe(TokenizerSpec& spec) {
  for (const GgufPre* row : gguf_pre_rows()) {
    if (!is_byte_level_bpe(spec, *row)) continue;
    spec.gguf_model = "gpt2";
    const std::string_view names = row->names;
    spec.gguf_pre = names.substr(0, names.find(' '));
    return begins_and_ends(spec);
  }
  return false;
}

bool name_wordpiece(TokenizerSpec& spec) {
  if (spec.normalizers.size() != 1 || spec.normalizers[0].kind != StepKind::kBertNormalizer)
    return false;
  constexpr std::uint32_t kAlways =
      formats::step_flag::kCleanText | formats::step_flag::kChineseChars;
  if ((spec.normalizers[0].flags & kAlways) != kAlways) return false;
  const auto& items = spec.post_template;
  if (items.size() != 3) return false;
  spec.gguf_model = "bert";
  spec.ids.cls = items.front();
  spec.ids.sep = items.back();
  to_phantom_space(spec);
  return true;
}

/// Whether GGUF's pipeline treats added tokens as the spec does.
bool are_added_alike(const TokenizerSpec& a, const TokenizerSpec& b) {
  const auto key = [](const formats::AddedToken& token) {
    return std::tuple(token.id, token.content, token.single_word, token.lstrip, token.rstrip,
                      token.special);
  };
  const auto keys = [&](const TokenizerSpec& spec) {
    std::set<std::invoke_result_t<decltype(key), const formats::AddedToken&>> all;
    for (const formats::AddedToken& token : spec.added) all.insert(key(token));
    return all;
  };
  return keys(a) == keys(b);
}

/// Names SentencePiece's BPE, in merges or scores, where what reads the names makes the same of
/// them.
bool name_sentencepiece_bpe(TokenizerSpec& spec, const std::string& architecture) {
  if ((spec.model_flags & model_flag::kByteFallback) == 0) return false;
  TokenizerSpec named = spec;
  if (spec.model == TokenizerModel::kBpeMerges) {
    auto scores = piece_scores(spec);
    if (!scores) return false;
    named.scores = std::move(*scores);
  }
  named.merges.clear();
  named.gguf_model = "llama";
  named.gguf_has_scores = true;
  if (!begins_and_ends(named)) return false;
  const auto prepends = [](const formats::TokenizerStep& step) {
    return step.kind == StepKind::kPrepend;
  };
  named.gguf_flags.add_space_prefix =
      std::any_of(spec.normalizers.begin(), spec.normalizers.end(), prepends) ? 1 : 0;
  TokenizerSpec read = named;
  for (auto* steps : {&read.normalizers, &read.pre_tokenizers, &read.decoders}) steps->clear();
  read.added.clear();
  GgufHints hints;
  hints.architecture = architecture;
  if (!set_gguf_pipeline(read, hints).ok()) return false;
  // Where every space has become a mark nothing is split at spaces.
  std::vector<formats::TokenizerStep> splits = spec.pre_tokenizers;
  std::erase_if(splits, [](const formats::TokenizerStep& step) {
    return step.kind == StepKind::kSplitLiteral && step.text == " ";
  });
  if (read.normalizers != spec.normalizers || read.pre_tokenizers != splits ||
      read.decoders != spec.decoders || read.post_template != spec.post_template ||
      !are_added_alike(read, spec))
    return false;
  spec = std::move(named);
  return true;
}

bool name_unigram(TokenizerSpec& spec) {
  if (spec.pre_tokenizers.empty() || spec.pre_tokenizers.back().kind != StepKind::kMetaspace) {
    return false;
  }
  for (const auto& step : spec.normalizers) {
    if (step.kind != StepKind::kPrecompiled) return false;
  }
  const auto& last = spec.pre_tokenizers.back();
  const bool collapses =
      spec.pre_tokenizers.size() > 1 && spec.pre_tokenizers[0].kind == StepKind::kWhitespaceSplit;
  spec.gguf_model = "t5";
  spec.gguf_has_scores = true;
  spec.gguf_flags.add_space_prefix =
      last.number == static_cast<std::uint32_t>(formats::PrependScheme::kNever) ? 0 : 1;
  spec.gguf_flags.remove_extra_whitespaces = collapses ? 1 : 0;
  return begins_and_ends(spec);
}

class Writer {
 public:
  Writer(const TokenizerSpec& spec, formats::GgufWriter& out) : spec_(spec), out_(out) {}

  Status run() {
    QUERN_CHECK(out_.add_string(key("model"), spec_.gguf_model));
    if (!spec_.gguf_pre.empty()) QUERN_CHECK(out_.add_string(key("pre"), spec_.gguf_pre));
    QUERN_CHECK(tokens());
    QUERN_CHECK(merges());
    QUERN_CHECK(ids());
    QUERN_CHECK(flags());
    QUERN_CHECK(letters());
    return charsmap();
  }

 private:
  static std::string key(const char* name) { return "tokenizer.ggml." + std::string(name); }

  Status tokens() {
    std::vector<std::string> holes;
    std::vector<std::string_view> texts;
    std::vector<std::int64_t> types;
    holes.reserve(spec_.tokens.size());
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      const TokenRow& row = spec_.tokens[i];
      const bool is_hole = row.type == TokenType::kNone;
      if (is_hole) holes.push_back("[PAD" + std::to_string(i) + "]");
      texts.push_back(is_hole ? std::string_view(holes.back()) : std::string_view(row.text));
      types.push_back(static_cast<std::int64_t>(is_hole ? TokenType::kUnused : row.type));
    }
    QUERN_CHECK(out_.add_strings(key("tokens"), texts));
    if (spec_.gguf_has_scores) {
      std::vector<float> scores;
      for (const double score : spec_.scores) scores.push_back(static_cast<float>(score));
      QUERN_CHECK(out_.add_floats(key("scores"), scores));
    }
    if (!spec_.gguf_has_types) return {};
    return out_.add_integers(key("token_type"), types);
  }

  Status merges() {
    if (spec_.merges.empty()) return {};
    std::vector<std::string> lines;
    lines.reserve(spec_.merges.size());
    for (const formats::Merge& merge : spec_.merges) {
      const bool known = merge.left >= 0 && merge.right >= 0 && merge.result >= 0;
      lines.push_back(known ? spec_.tokens[static_cast<std::size_t>(merge.left)].text + " " +
                                  spec_.tokens[static_cast<std::size_t>(merge.right)].text
                            : merge.unresolved);
    }
    const std::vector<std::string_view> views(lines.begin(), lines.end());
    return out_.add_strings(key("merges"), views);
  }

  Status ids() {
    const formats::SpecialIds& ids = spec_.ids;
    const struct {
      const char* name;
      std::int32_t id;
    } rows[] = {{"bos_token_id", ids.bos},     {"eos_token_id", ids.eos},
                {"eot_token_id", ids.eot},     {"unknown_token_id", ids.unk},
                {"padding_token_id", ids.pad}, {"seperator_token_id", ids.sep},
                {"cls_token_id", ids.cls},     {"mask_token_id", ids.mask}};
    for (const auto& row : rows) {
      if (row.id >= 0)
        QUERN_CHECK(out_.add_unsigned(key(row.name), static_cast<std::uint32_t>(row.id)));
    }
    return {};
  }

  Status flags() {
    const formats::GgufFlags& flags = spec_.gguf_flags;
    const struct {
      const char* name;
      std::int32_t value;
    } rows[] = {{"add_bos_token", flags.add_bos},
                {"add_eos_token", flags.add_eos},
                {"add_sep_token", flags.add_sep},
                {"add_space_prefix", flags.add_space_prefix},
                {"remove_extra_whitespaces", flags.remove_extra_whitespaces}};
    for (const auto& row : rows) {
      if (row.value >= 0) QUERN_CHECK(out_.add_bool(key(row.name), row.value != 0));
    }
    return {};
  }

  /// What BERT's normalizer does to letters where that is not what absence means.
  Status letters() {
    for (const auto& step : spec_.normalizers) {
      if (step.kind != StepKind::kBertNormalizer) continue;
      const bool lowers = (step.flags & formats::step_flag::kLower) != 0;
      const bool strips = (step.flags & formats::step_flag::kDropAccents) != 0;
      if (!lowers) QUERN_CHECK(out_.add_bool(key("normalizer.lowercase"), false));
      if (strips != lowers) QUERN_CHECK(out_.add_bool(key("normalizer.strip_accents"), strips));
    }
    return {};
  }

  Status charsmap() {
    for (const auto& step : spec_.normalizers) {
      if (step.kind != StepKind::kPrecompiled) continue;
      std::vector<std::int64_t> bytes;
      for (const char c : step.text) bytes.push_back(static_cast<unsigned char>(c));
      return out_.add_integers(key("precompiled_charsmap"), bytes, formats::GgufType::kU8);
    }
    return {};
  }

  const TokenizerSpec& spec_;
  formats::GgufWriter& out_;
};

}  // namespace

bool name_gguf_pipeline(TokenizerSpec& spec, const std::string& architecture) {
  if (!spec.gguf_model.empty()) return true;
  spec.gguf_has_types = true;
  switch (spec.model) {
    case TokenizerModel::kBpeMerges:
      return name_bpe(spec) || name_sentencepiece_bpe(spec, architecture);
    case TokenizerModel::kBpeScores:
      return name_sentencepiece_bpe(spec, architecture);
    case TokenizerModel::kWordPiece:
      return name_wordpiece(spec);
    case TokenizerModel::kUnigram:
      return name_unigram(spec);
    default:
      return false;
  }
}

Status write_gguf_tokenizer(const TokenizerSpec& spec, formats::GgufWriter& writer,
                            const std::string& architecture) {
  if (!spec.gguf_model.empty()) return Writer(spec, writer).run();
  TokenizerSpec named = spec;
  if (!name_gguf_pipeline(named, architecture)) {
    return Error(ErrorCode::kUnsupported, "GGUF has no name for this tokenizer's pipeline")
        .of("tokenizer.ggml.model");
  }
  return Writer(named, writer).run();
}

}  // namespace quern::convert
