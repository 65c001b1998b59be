// GGUF as a source.
#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "convert/gguf_tokenizer.h"
#include "convert/model_output.h"
#include "convert/source_model.h"
#include "formats/byte_reader.h"
#include "formats/gguf_reader.h"

namespace quern::convert {
namespace {

using formats::GgufFile;
using formats::GgufTensor;
using formats::Json;

/// Longer arrays are no configuration (the vocabulary's are read by the tokenizer).
constexpr std::uint64_t kMaxConfigArray = 65'536;
constexpr std::uint64_t kMaxTexts = 1024;  ///< Languages, tags.

/// Control tokens that end a reply in the published chat formats. GGUF files often name only one
/// end token; the others are known by their text, as its other readers have it.
constexpr std::array<std::string_view, 7> kEndTokens{"<|im_end|>",     "<|eot_id|>", "<|eom_id|>",
                                                     "<end_of_turn>",  "<|end|>",    "<|eot|>",
                                                     "<|end_of_text|>"};

/// The generation section's names of the tokens of fill-in-the-middle, and GGUF's: the newer first.
constexpr std::pair<const char*, std::array<const char*, 2>> kFillInKeys[] = {
    {"fim_prefix_token_id", {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"}},
    {"fim_suffix_token_id", {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"}},
    {"fim_middle_token_id", {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"}}};

Result<ConfigList> read_array(const formats::GgufArray& array) {
  ConfigList list;
  if (array.type() == formats::GgufType::kF32 || array.type() == formats::GgufType::kF64) {
    for (std::uint64_t i = 0; i < array.size(); ++i) {
      QUERN_TRY(value, array.number(i));
      list.emplace_back(value);
    }
    return list;
  }
  if (array.type() == formats::GgufType::kString) {
    QUERN_TRY(texts, array.strings());
    for (const std::string_view text : texts) list.emplace_back(std::string(text));
    return list;
  }
  QUERN_TRY(values, array.integers());
  for (const auto value : values) list.emplace_back(value);
  return list;
}

/// Queries, keys and values as rows of one tensor, in this order, in place of three.
constexpr std::string_view kFused = ".attn_qkv.";
constexpr std::array<std::string_view, 3> kApart{".attn_q.", ".attn_k.", ".attn_v."};

/// \return `name` with `part` in the place of kFused; empty where the name has none.
std::string part_name(std::string_view name, std::string_view part) {
  const std::size_t at = name.find(kFused);
  if (at == std::string_view::npos) return {};
  return std::string(name).replace(at, kFused.size(), part);
}

/// Whether the architecture's own files have the fused tensor.
bool knows_fused(const models::Architecture& architecture) {
  const auto& rules = architecture.tensors();
  return std::any_of(rules.begin(), rules.end(), [](const models::TensorRule& rule) {
    return rule.gguf.find(kFused) != std::string_view::npos ||
           rule.older_gguf.find(kFused) != std::string_view::npos;
  });
}

/// The metadata as the architectures read them: scalars, short arrays, and three things that
/// GGUF keeps in tensors: the rows of the embedding, the factors of the rotary frequencies, and
/// which tensors there are, of the layers in the first.
Result<Config> architecture_config(const GgufFile& file, bool splits) {
  Config config = file.config();
  for (const auto& entry : file.entries()) {
    if (entry.type != formats::GgufType::kArray || entry.key.starts_with("tokenizer.") ||
        entry.array.type() == formats::GgufType::kArray || entry.array.size() > kMaxConfigArray) {
      continue;
    }
    QUERN_TRY(list, read_array(entry.array));
    config.set(std::string(entry.key), ConfigValue(std::move(list)));
  }
  const GgufTensor* embed = file.find_tensor("token_embd.weight");
  if (embed != nullptr) config.set("vocab_size", static_cast<std::int64_t>(embed->ne[1]));
  for (const GgufTensor& tensor : file.tensors()) {
    const bool in_layer = tensor.name.find("blk.") != std::string_view::npos;
    const bool first = tensor.name.find("blk.0.") != std::string_view::npos;
    if ((!in_layer || first) && config.find(tensor.name) == nullptr)
      config.set(std::string(tensor.name), true);
    const bool fused = first && tensor.name.find(kFused) != std::string_view::npos;
    for (const std::string_view part : kApart)
      if (fused && splits) config.set(part_name(tensor.name, part), true);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with("rope_") || tensor.type->encoding != Encoding::kF32) continue;
    if (tensor.data.size() / sizeof(float) > kMaxConfigArray) continue;
    ConfigList factors;
    for (std::size_t at = 0; at + 4 <= tensor.data.size(); at += 4) {
      factors.emplace_back(static_cast<double>(formats::load_le<float>(tensor.data.data() + at)));
    }
    config.set(std::string(tensor.name), ConfigValue(std::move(factors)));
  }
  return config;
}

Json generation_of(const GgufFile& file, const formats::TokenizerSpec* spec) {
  Json json = Json::object();
  const Config& config = file.config();
  const auto id = [&](const char* key) { return config.integer_or(key, -1); };
  if (const auto bos = id("tokenizer.ggml.bos_token_id"); bos.ok() && *bos >= 0) {
    json["bos_token_id"] = *bos;
  }
  std::vector<std::int64_t> ends;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    if (const auto end = id(key); end.ok() && *end >= 0) ends.push_back(*end);
  }
  for (const auto& [key, names] : kFillInKeys) {
    for (const char* name : names) {
      const auto found = id(name);
      if (found.ok() && *found >= 0 && json.find(key) == nullptr) json[key] = *found;
    }
  }
  if (spec != nullptr) {
    for (std::size_t i = 0; i < spec->tokens.size(); ++i) {
      const auto& token = spec->tokens[i];
      if (token.type != formats::TokenType::kControl) continue;
      if (std::find(kEndTokens.begin(), kEndTokens.end(), token.text) == kEndTokens.end()) continue;
      ends.push_back(static_cast<std::int64_t>(i));
    }
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  if (!ends.empty()) json["eos_token_id"] = ends;
  return json;
}

class GgufSource final : public SourceModel {
 public:
  explicit GgufSource(GgufFile file) : file_(std::move(file)) {}

  std::string_view kind() const noexcept override { return "gguf"; }
  Naming naming() const noexcept override { return Naming::kGguf; }
  void release(const SourceTensor& tensor) const noexcept override {
    if (const auto* found = file_.find_tensor(tensor.name)) file_.release(*found);
  }
  bool has_tokenizer() const noexcept override { return spec_.has_value(); }
  Result<std::vector<std::byte>> tokenizer_image() const override {
    return std::vector<std::byte>();
  }
  Result<formats::TokenizerSpec> tokenizer_spec() const override { return *spec_; }

  Status read(bool vocabulary_only) {
    path_ = file_.path();
    files_ = {path_};
    QUERN_TRY(vocabulary, file_.config().string_or("tokenizer.ggml.model", "none"));
    if (vocabulary != "none" && vocabulary != "no_vocab") {  // Both are llama.cpp's words.
      QUERN_TRY(spec, read_gguf_tokenizer(file_));
      spec_ = std::move(spec);
    }
    QUERN_TRY(chat, file_.config().string_or("tokenizer.chat_template", ""));
    chat_template_ = std::move(chat);
    generation_ = generation_of(file_, spec_ ? &*spec_ : nullptr);
    QUERN_CHECK(read_metadata());
    if (!vocabulary_only) QUERN_CHECK(read_architecture());
    list_tensors();
    return {};
  }

 private:
  Status read_architecture() {
    QUERN_TRY(parts, file_.config().integer_or("split.count", 1));
    if (parts > 1) {
      return Error(ErrorCode::kUnsupported, "the model is split over several GGUF files")
          .in_file(path_)
          .of("split.count")
          .want("one file (gguf-split --merge joins them)")
          .got(std::to_string(parts));
    }
    QUERN_TRY(name, file_.config().string("general.architecture"));
    architecture_ = models::find_by_gguf_name(name, file_.config());
    if (architecture_ == nullptr) return unknown_architecture(path_, name);
    splits_ = !knows_fused(*architecture_);
    QUERN_TRY(source, architecture_config(file_, splits_));
    auto config = architecture_->read_config(source, models::SourceKind::kGguf);
    if (!config.ok()) return std::move(config).error().in_file(path_);
    config_ = std::move(config).value();
    return {};
  }

  void list_tensors() {
    std::vector<SourceTensor> tensors;
    for (const GgufTensor& tensor : file_.tensors()) {
      SourceTensor out;
      out.name = tensor.name;
      out.shape.assign(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims);
      std::reverse(out.shape.begin(), out.shape.end());
      out.type_name = tensor.type->name;
      out.encoding = tensor.type->encoding;
      out.data = tensor.data;
      if (!split(out, tensors)) tensors.push_back(std::move(out));
    }
    set_tensors(std::move(tensors));
  }

  /// Adds the three parts of a fused tensor where the architecture knows them apart.
  /// \return false for any other tensor, and one whose rows the configuration does not explain.
  bool split(const SourceTensor& fused, std::vector<SourceTensor>& tensors) const {
    if (!splits_ || part_name(fused.name, kApart[0]).empty() || fused.shape.empty()) return false;
    const auto queries = models::evaluate_dimension("n_heads*head_dim", config_);
    const auto keys = models::evaluate_dimension("n_kv_heads*head_dim", config_);
    if (!queries.ok() || !keys.ok()) return false;
    const std::uint64_t rows = fused.shape.front();
    const std::array parts{static_cast<std::uint64_t>(*queries), static_cast<std::uint64_t>(*keys),
                           static_cast<std::uint64_t>(*keys)};
    if (rows != parts[0] + 2 * parts[1] || fused.data.size() % rows != 0) return false;
    std::size_t at = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      SourceTensor part = fused;
      part.name = part_name(fused.name, kApart[i]);
      part.shape.front() = parts[i];
      part.data = fused.data.subspan(at, static_cast<std::size_t>(parts[i]) *
                                             (fused.data.size() / static_cast<std::size_t>(rows)));
      at += part.data.size();
      tensors.push_back(std::move(part));
    }
    return true;
  }

  /// What stands outside the tokenizer: name, licence, languages, what the model was made from.
  Status read_metadata() {
    Config kept;
    for (const auto& [key, value] : file_.config().items()) {
      if (key.starts_with("tokenizer.") || key == kGgufReportKey) continue;
      kept.set(key, value);
    }
    QUERN_TRY(report, file_.config().string_or(kGgufReportKey, ""));
    report.resize(report.find_last_not_of(' ') + 1);
    quality_report_ = std::move(report);
    for (const auto& entry : file_.entries()) {
      if (!entry.key.starts_with("general.") || entry.type != formats::GgufType::kArray ||
          entry.array.type() != formats::GgufType::kString || entry.array.size() > kMaxTexts) {
        continue;
      }
      QUERN_TRY(texts, entry.array.strings());
      ConfigList list;
      for (const std::string_view text : texts) list.emplace_back(std::string(text));
      kept.set(std::string(entry.key), ConfigValue(std::move(list)));
    }
    metadata_ = formats::config_to_json(kept);
    return {};
  }

  GgufFile file_;
  bool splits_ = false;  ///< Fused queries, keys and values are three tensors here.
  std::optional<formats::TokenizerSpec> spec_;
};

}  // namespace

Result<SourcePointer> open_gguf_source(const std::string& path, bool vocabulary_only) {
  QUERN_TRY(file, GgufFile::open(path));
  const bool weights = !vocabulary_only && !file.tensors().empty();
  auto source = std::make_unique<GgufSource>(std::move(file));
  QUERN_CHECK(source->read(!weights));
  return SourcePointer(std::move(source));
}

}  // namespace quern::convert
