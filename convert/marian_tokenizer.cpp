#include "convert/marian_tokenizer.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "convert/tokenizer_steps.h"
#include "formats/byte_reader.h"
#include "formats/mapped_file.h"
#include "formats/sentencepiece_model.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {
namespace {

using formats::Json;
using formats::SentencePieceModel;
using formats::StepKind;
using formats::TokenizerSpec;
using formats::TokenizerStep;
using formats::TokenRow;
using formats::TokenType;

constexpr DefaultTokens kDefaults = {nullptr, "</s>", "<unk>", nullptr, "<pad>"};

std::string beside(const formats::CheckpointDir& directory, const char* name) {
  const std::string path = directory.path + "/" + name;
  return formats::is_regular_file(path) ? path : std::string();
}

/// SentencePiece's own normalization, and U+2581 back to spaces without those at the ends.
void set_pipeline(const SentencePieceModel& model, TokenizerSpec& spec) {
  if (!model.charsmap.empty()) {
    spec.normalizers.push_back(step(StepKind::kPrecompiled, model.charsmap));
    spec.normalizers.back().flags = formats::step_flag::kLongestMatch;
  }
  if (model.remove_extra_whitespaces) {
    spec.normalizers.push_back(step(StepKind::kCollapseSpaces));
  }
  if (model.add_dummy_prefix) spec.normalizers.push_back(step(StepKind::kPrepend, " "));
  spec.normalizers.push_back(step(StepKind::kReplaceLiteral, " ", kMark));
  spec.model = formats::TokenizerModel::kUnigram;
  spec.decoders.push_back(step(StepKind::kDecodeReplaceLiteral, kMark, " "));
  spec.decoders.push_back(step(StepKind::kDecodeFuse));
  spec.decoders.push_back(step(StepKind::kDecodeStrip, " "));
  constexpr std::uint32_t kAll = 0x7fffffffu;
  spec.decoders.back().number = kAll;
  spec.decoders.back().number2 = kAll;
}

class Marian {
 public:
  Marian(const std::string& file, const SentencePieceModel& model, const TokenizerNotes& notes)
      : file_(file), model_(model), notes_(notes) {}

  Result<TokenizerSpec> run(const Json& vocabulary, const std::string& vocabulary_file) {
    QUERN_CHECK(check_model());
    QUERN_CHECK(rows(vocabulary, vocabulary_file));
    pieces();
    set_pipeline(model_, spec_);
    QUERN_CHECK(place_added_tokens(spec_, notes_, kDefaults));
    add_languages();
    spec_.scores.resize(spec_.tokens.size(), lowest_);
    const std::int32_t unk = spec_.ids.unk;
    if (unk < 0 || static_cast<std::size_t>(unk) >= n_rows_ || spec_.ids.eos < 0) {
      return Error(ErrorCode::kMissing, "the vocabulary has no unknown token or no end")
          .in_file(vocabulary_file)
          .want("<unk> and </s>");
    }
    spec_.model_unk = unk;
    spec_.tokens[static_cast<std::size_t>(unk)].type = TokenType::kUnknown;
    spec_.post_template = {TokenizerSpec::kTemplateText, spec_.ids.eos};
    return std::move(spec_);
  }

 private:
  Status check_model() const {
    const auto refuse = [this](const char* field, const char* want, const char* got) {
      return Error(ErrorCode::kUnsupported, "a Marian tokenizer of another kind")
          .in_file(file_)
          .of(field)
          .want(want)
          .got(got);
    };
    if (model_.kind != SentencePieceModel::Kind::kUnigram) {
      return refuse("trainer_spec.model_type", "unigram", formats::name_of(model_.kind));
    }
    if (model_.byte_fallback) return refuse("trainer_spec.byte_fallback", "false", "true");
    if (!model_.escape_whitespaces || model_.whitespace_as_suffix) {
      return refuse("normalizer_spec", "U+2581 in front of words", "another form");
    }
    for (const auto& piece : model_.pieces) {
      if (piece.type == TokenType::kUserDefined) {
        return refuse("pieces.type", "no pieces of the user's own", "USER_DEFINED");
      }
    }
    return {};
  }

  Status rows(const Json& vocabulary, const std::string& file) {
    for (const auto& item : vocabulary.items()) {
      const bool small = item.value.is_unsigned() &&
                         item.value.unsigned_integer() < formats::kMaxVocabRows &&
                         item.key.size() <= formats::kMaxTokenBytes;
      if (!small) {
        return Error(ErrorCode::kMalformed, "an id of the vocabulary is no small integer")
            .in_file(file)
            .of(formats::quote(item.key));
      }
      const auto id = static_cast<std::size_t>(item.value.unsigned_integer());
      if (spec_.tokens.size() <= id) spec_.tokens.resize(id + 1);
      spec_.tokens[id] = TokenRow{item.key, TokenType::kNormal, false};
      ids_[item.key] = id;
    }
    if (!spec_.tokens.empty()) return {};
    return Error(ErrorCode::kMissing, "the vocabulary is empty").in_file(file);
  }

  /// The pieces' scores. Those without a number of their own get rows behind the vocabulary.
  void pieces() {
    n_rows_ = spec_.tokens.size();
    lowest_ = std::numeric_limits<double>::infinity();
    for (const auto& piece : model_.pieces) {
      if (piece.type == TokenType::kNormal) {
        lowest_ = std::min(lowest_, static_cast<double>(piece.score));
      }
    }
    if (lowest_ == std::numeric_limits<double>::infinity()) lowest_ = 0;
    spec_.scores.assign(n_rows_, lowest_);
    for (const auto& piece : model_.pieces) {
      if (piece.type != TokenType::kNormal || piece.text.empty()) continue;
      const auto known = ids_.find(piece.text);
      if (known != ids_.end()) {
        spec_.tokens[known->second].in_model = true;
        spec_.scores[known->second] = static_cast<double>(piece.score);
      } else {
        spec_.tokens.push_back(TokenRow{piece.text, TokenType::kUnused, true});
        spec_.scores.push_back(static_cast<double>(piece.score));
      }
    }
  }

  /// `>>fra<<` in front of a text says into which language.
  void add_languages() {
    for (std::size_t id = 0; id < n_rows_; ++id) {
      const std::string& text = spec_.tokens[id].text;
      if (text.size() < 5 || !text.starts_with(">>") || !text.ends_with("<<")) continue;
      formats::AddedToken token;
      token.id = static_cast<std::int32_t>(id);
      token.content = text;
      add_token(spec_, std::move(token));
    }
  }

  const std::string& file_;
  const SentencePieceModel& model_;
  const TokenizerNotes& notes_;
  TokenizerSpec spec_;
  std::unordered_map<std::string_view, std::size_t> ids_;
  std::size_t n_rows_ = 0;
  double lowest_ = 0;
};

}  // namespace

bool has_marian_tokenizer(const formats::CheckpointDir& directory) {
  return !directory.vocab_json.empty() && !beside(directory, "source.spm").empty();
}

Result<TokenizerSpec> read_marian_tokenizer(const formats::CheckpointDir& directory,
                                            const TokenizerNotes& notes) {
  if (notes.config["separate_vocabs"].boolean()) {
    return Error(ErrorCode::kUnsupported, "source and target have vocabularies of their own")
        .in_file(notes.file)
        .of("separate_vocabs")
        .want("false")
        .got("true");
  }
  const std::string file = beside(directory, "source.spm");
  QUERN_TRY(model, SentencePieceModel::open(file));
  QUERN_TRY(vocabulary, formats::read_json_file(directory.vocab_json));
  return Marian(file, model, notes).run(vocabulary, directory.vocab_json);
}

}  // namespace quern::convert
