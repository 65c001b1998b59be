#include "convert/gguf_tokenizer.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <unordered_map>

#include "convert/gguf_pipelines.h"
#include "convert/gguf_pre_table.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {

using formats::TokenizerSpec;
using formats::TokenRow;
using formats::TokenType;

namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";

class Reader {
 public:
  explicit Reader(const formats::GgufFile& file) : file_(file) {}

  Result<TokenizerSpec> run() {
    QUERN_TRY(model, file_.config().string(key("model")));
    QUERN_TRY(pre, file_.config().string_or(key("pre"), ""));
    spec_.gguf_model = std::move(model);
    spec_.gguf_pre = std::move(pre);
    QUERN_CHECK(tokens());
    QUERN_CHECK(types());
    QUERN_CHECK(scores());
    QUERN_CHECK(ids());
    QUERN_CHECK(flags());
    QUERN_CHECK(merges());
    QUERN_CHECK(charsmap());
    GgufHints hints;
    QUERN_TRY(name, file_.config().string_or("general.name", ""));
    QUERN_TRY(architecture, file_.config().string_or("general.architecture", ""));
    hints.model_name = std::move(name);
    hints.architecture = std::move(architecture);
    hints.charsmap = std::move(charsmap_);
    const Config& config = file_.config();
    QUERN_TRY(lowers, config.boolean_or(key("normalizer.lowercase"), true));
    QUERN_TRY(strips, config.boolean_or(key("normalizer.strip_accents"), lowers));
    hints.lowercase = lowers;
    hints.strip_accents = strips;
    Status status = set_gguf_pipeline(spec_, hints);
    if (!status.ok()) return std::move(status).error().in_file(file_.path());
    return std::move(spec_);
  }

 private:
  static std::string key(const char* name) { return kPrefix + std::string(name); }
  Error error(ErrorCode code, const char* name, const char* message) const {
    return Error(code, message).in_file(file_.path()).of(key(name));
  }

  Status tokens() {
    QUERN_TRY(array, file_.array(key("tokens")));
    if (array.size() > formats::kMaxVocabRows) {
      return error(ErrorCode::kLimit, "tokens", "the vocabulary is too large")
          .got(std::to_string(array.size()));
    }
    QUERN_TRY(strings, array.strings());
    spec_.tokens.reserve(static_cast<std::size_t>(array.size()));
    for (const std::string_view text : strings) {
      if (text.size() > formats::kMaxTokenBytes) {
        return error(ErrorCode::kLimit, "tokens", "a token is too long")
            .got(std::to_string(text.size()));
      }
      spec_.tokens.push_back(TokenRow{std::string(text), TokenType::kNormal, false});
    }
    return {};
  }

  Status same_length(const char* name, std::uint64_t size) const {
    if (size == spec_.tokens.size()) return {};
    return error(ErrorCode::kMismatch, name, "a list is not as long as the vocabulary")
        .want(std::to_string(spec_.tokens.size()))
        .got(std::to_string(size));
  }

  Status types() {
    if (file_.find(key("token_type")) == nullptr) return {};
    QUERN_TRY(array, file_.array(key("token_type")));
    QUERN_CHECK(same_length("token_type", array.size()));
    QUERN_TRY(types, array.integers());
    for (std::size_t i = 0; i < types.size(); ++i) {
      // 0 ("undefined") is written by some converters for ordinary tokens.
      if (types[i] < 0 || types[i] > 6) {
        return error(ErrorCode::kOutOfRange, "token_type", "an unknown token type")
            .got(std::to_string(types[i]));
      }
      if (types[i] != 0) spec_.tokens[i].type = static_cast<TokenType>(types[i]);
    }
    spec_.gguf_has_types = true;
    return {};
  }

  Status scores() {
    if (file_.find(key("scores")) == nullptr) return {};
    QUERN_TRY(array, file_.array(key("scores")));
    QUERN_CHECK(same_length("scores", array.size()));
    QUERN_TRY(values, array.floats());
    spec_.scores.assign(values.begin(), values.end());
    spec_.gguf_has_scores = true;
    return {};
  }

  /// An id, -1 where the key is absent or points behind the vocabulary by convention (2^32 - 1).
  Status id(const char* name, std::int32_t& out) const {
    QUERN_TRY(value, file_.config().integer_or(key(name), -1));
    if (value == 0xffffffffll) value = -1;
    if (value < -1 || value >= static_cast<std::int64_t>(spec_.tokens.size())) {
      return error(ErrorCode::kOutOfRange, name, "an id is no token")
          .want("below " + std::to_string(spec_.tokens.size()))
          .got(std::to_string(value));
    }
    out = static_cast<std::int32_t>(value);
    return {};
  }

  Status ids() {
    formats::SpecialIds& ids = spec_.ids;
    QUERN_CHECK(id("bos_token_id", ids.bos));
    QUERN_CHECK(id("eos_token_id", ids.eos));
    QUERN_CHECK(id("eot_token_id", ids.eot));
    QUERN_CHECK(id("unknown_token_id", ids.unk));
    QUERN_CHECK(id("padding_token_id", ids.pad));
    QUERN_CHECK(id("seperator_token_id", ids.sep));  // GGUF's own spelling.
    QUERN_CHECK(id("cls_token_id", ids.cls));
    return id("mask_token_id", ids.mask);
  }

  Status flag(const char* name, std::int32_t& out) const {
    if (!file_.config().has(key(name))) return {};
    QUERN_TRY(value, file_.config().boolean(key(name)));
    out = value ? 1 : 0;
    return {};
  }

  Status flags() {
    formats::GgufFlags& flags = spec_.gguf_flags;
    QUERN_CHECK(flag("add_bos_token", flags.add_bos));
    QUERN_CHECK(flag("add_eos_token", flags.add_eos));
    QUERN_CHECK(flag("add_sep_token", flags.add_sep));
    QUERN_CHECK(flag("add_space_prefix", flags.add_space_prefix));
    return flag("remove_extra_whitespaces", flags.remove_extra_whitespaces);
  }

  Status merges() {
    if (file_.find(key("merges")) == nullptr) return {};
    QUERN_TRY(array, file_.array(key("merges")));
    QUERN_TRY(strings, array.strings());
    std::unordered_map<std::string_view, std::int32_t> ids;
    ids.reserve(spec_.tokens.size());
    for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
      ids.emplace(spec_.tokens[i].text, static_cast<std::int32_t>(i));
    }
    const auto id_of = [&ids](std::string_view text) {
      const auto it = ids.find(text);
      return it == ids.end() ? -1 : it->second;
    };
    std::string joined;
    for (const std::string_view line : strings) {
      formats::Merge merge;
      // The left part may itself be a space.
      const std::size_t space = line.find(' ', 1);
      if (space != std::string_view::npos) {
        merge.left = id_of(line.substr(0, space));
        merge.right = id_of(line.substr(space + 1));
        joined = line.substr(0, space);
        joined += line.substr(space + 1);
        merge.result = id_of(joined);
      }
      if (merge.left < 0 || merge.right < 0 || merge.result < 0) merge.unresolved = line;
      spec_.merges.push_back(std::move(merge));
    }
    return {};
  }

  Status charsmap() {
    if (file_.find(key("precompiled_charsmap")) == nullptr) return {};
    QUERN_TRY(array, file_.array(key("precompiled_charsmap")));
    if (array.bytes().size() != array.size()) {
      return error(ErrorCode::kMismatch, "precompiled_charsmap", "the map is no list of bytes");
    }
    charsmap_.assign(reinterpret_cast<const char*>(array.bytes().data()), array.bytes().size());
    return {};
  }

  const formats::GgufFile& file_;
  TokenizerSpec spec_;
  std::string charsmap_;
};

}  // namespace

Result<TokenizerSpec> read_gguf_tokenizer(const formats::GgufFile& file) {
  return Reader(file).run();
}

}  // namespace quern::convert
