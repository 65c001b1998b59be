// A Hugging Face directory, one safetensors file of it, or a lone tokenizer.json as a source.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "convert/generation_keys.h"
#include "convert/huggingface_tokenizer.h"
#include "convert/marian_tokenizer.h"
#include "convert/mxfp4_streams.h"
#include "convert/pair_template.h"
#include "convert/sentence_settings.h"
#include "convert/source_model.h"
#include "formats/checkpoint_dir.h"
#include "formats/mapped_file.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {
namespace {

using formats::CheckpointDir;
using formats::SafetensorsFile;

class HuggingFaceSource final : public SourceModel {
 public:
  HuggingFaceSource(std::string path, CheckpointDir directory) : directory_(std::move(directory)) {
    path_ = std::move(path);
  }

  std::string_view kind() const noexcept override {
    return directory_.weights ? "safetensors" : "tokenizer";
  }
  Naming naming() const noexcept override { return Naming::kHuggingFace; }
  void release(const SourceTensor& tensor) const noexcept override {
    if (!directory_.weights) return;
    for (const char* ending : {"", "_blocks", "_scales"}) {
      const auto* found = directory_.weights->find(tensor.name + ending);
      if (found != nullptr) directory_.weights->release(*found);
    }
    for (const ModuleWeights& module : modules_) {
      const std::string prefix = module_prefix(module);
      if (!tensor.name.starts_with(prefix)) continue;
      const auto* found = module.file.find(tensor.name.substr(prefix.size()));
      if (found != nullptr) module.file.release(*found);
    }
  }
  bool has_tokenizer() const noexcept override {
    return !directory_.tokenizer_json.empty() || sentencepiece_.has_value();
  }
  Result<std::vector<std::byte>> tokenizer_image() const override {
    return std::vector<std::byte>();
  }
  Result<formats::TokenizerSpec> tokenizer_spec() const override {
    if (sentencepiece_) return *sentencepiece_;
    return read_huggingface_tokenizer(directory_);
  }

  Status read(bool vocabulary_only) {
    generation_ = directory_.generation_json;
    const bool own = !generation_.is_null();
    if (!own) generation_ = generation_of_config(directory_.config_json);
    if (!vocabulary_only)
      QUERN_CHECK(check_generation_keys(
          generation_, directory_.path + (own ? "/generation_config.json" : "/config.json"),
          notes_));
    QUERN_TRY(chat, read_huggingface_template(directory_));
    chat_template_ = std::move(chat);
    metadata_ = directory_.config_json;
    if (!has_tokenizer()) QUERN_CHECK(read_sentencepiece());
    if (!directory_.weights && has_tokenizer()) {
      files_ = {sentencepiece_ ? directory_.sentencepiece_model : directory_.tokenizer_json};
      if (files_.front().empty()) files_ = {directory_.vocab_json};
    }
    if (directory_.weights) QUERN_CHECK(list_tensors());
    if (vocabulary_only) return {};
    if (!directory_.weights) {
      return Error(ErrorCode::kMissing, "the directory holds no weights")
          .in_file(path_)
          .want("model.safetensors or model.safetensors.index.json");
    }
    return read_architecture();
  }

 private:
  /// Under which the tensors of a module are listed beside those of the model.
  static std::string module_prefix(const ModuleWeights& module) {
    return "sentence." + std::to_string(module.step) + ".";
  }

  /// A model of a class that is not known here still converts, without a tokenizer.
  Status read_sentencepiece() {
    if (directory_.sentencepiece_model.empty() && !has_marian_tokenizer(directory_)) {
      notes_.emplace_back("the checkpoint has no tokenizer.json: the result has no tokenizer");
      return {};
    }
    auto spec = read_huggingface_tokenizer(directory_);
    if (spec.ok()) {
      sentencepiece_ = std::move(spec).value();
      return {};
    }
    const std::string& field = spec.error().field;
    const bool unknown = field == "tokenizer_class" || field == "separate_vocabs";
    if (!unknown || !directory_.weights) return std::move(spec).error();
    notes_.emplace_back("the result has no tokenizer: " + spec.error().describe());
    return {};
  }

  Status read_architecture() {
    std::string name;
    for (const ConfigValue& value : directory_.config.list("architectures")) {
      const auto* text = std::get_if<std::string>(&value);
      if (text == nullptr) continue;
      name = *text;
      architecture_ = models::find_by_hf_class(name);
      if (architecture_ != nullptr) break;
    }
    if (name.empty()) {
      return Error(ErrorCode::kMissing, "the configuration names no architecture")
          .in_file(directory_.path + "/config.json")
          .of("architectures");
    }
    if (architecture_ == nullptr) return unknown_architecture(path_, name);
    drop_absent_head(name);
    auto config = architecture_->read_config(directory_.config, models::SourceKind::kHuggingFace);
    if (!config.ok()) {
      return std::move(config).error().in_file(directory_.path + "/config.json");
    }
    config_ = std::move(config).value();
    note_towers();
    if (!config_.has("head.sequence")) return {};  // No encoder.
    QUERN_CHECK(read_pair_template(directory_, config_));
    QUERN_TRY(modules, read_sentence_settings(directory_, config_));
    modules_ = std::move(modules);
    return modules_.empty() ? Status() : list_tensors();
  }

  /// What sentence-transformers saves keeps the class that the transformer was trained as, without
  /// the head for words that embeddings have no use for.
  void drop_absent_head(const std::string& name) {
    constexpr std::string_view kHead = "ForMaskedLM", kRule = "head.masked_lm";
    if (!name.ends_with(kHead) || !formats::is_regular_file(directory_.path + "/modules.json"))
      return;
    for (const models::TensorRule& rule : architecture_->tensors()) {
      for (const std::string& hf : rule.hf)
        if (rule.when.starts_with(kRule) && find(hf) != nullptr) return;
    }
    const std::string base = name.substr(0, name.size() - kHead.size()) + "Model";
    const models::Architecture* found = models::find_by_hf_class(base);
    if (found == nullptr) return;
    architecture_ = found;
    directory_.config.set("architectures", base);
  }

  /// A checkpoint may hold more than its architecture here, which takes text.
  void note_towers() {
    const auto& items = directory_.config.items();
    const bool any = std::any_of(items.begin(), items.end(), [](const auto& item) {
      return item.first.starts_with("vision_config.") || item.first.starts_with("audio_config.");
    });
    if (any)
      notes_.emplace_back(
          "the checkpoint's parts for pictures and sound are not read: the result takes text "
          "alone");
  }

  Status list_tensors() {
    files_ = directory_.weights->shard_paths();
    std::vector<SourceTensor> tensors;
    const auto add = [&](const SafetensorsFile& file, const std::string& prefix) {
      for (const formats::SafeTensor& tensor : file.tensors()) {
        SourceTensor out;
        out.name = prefix + tensor.name;
        out.shape = tensor.shape;
        out.type_name = tensor.dtype_name;
        if (tensor.dtype != nullptr) out.encoding = tensor.dtype->encoding;
        out.data = tensor.data;
        tensors.push_back(std::move(out));
      }
    };
    add(*directory_.weights, "");
    for (const ModuleWeights& module : modules_) {
      add(module.file, module_prefix(module));
      const auto& paths = module.file.shard_paths();
      files_.insert(files_.end(), paths.begin(), paths.end());
    }
    QUERN_CHECK(join_mxfp4_streams(path_, tensors));
    set_tensors(std::move(tensors));
    return {};
  }

  CheckpointDir directory_;
  std::vector<ModuleWeights> modules_;                   ///< Of sentence-transformers.
  std::optional<formats::TokenizerSpec> sentencepiece_;  ///< Where there is no tokenizer.json.
};

/// A tokenizer and what belongs to it, without a configuration. Whatever is absent is left empty.
CheckpointDir tokenizer_directory(const std::filesystem::path& tokenizer_json) {
  CheckpointDir directory;
  const auto parent = tokenizer_json.parent_path();
  directory.path = parent.string();
  directory.config_json = formats::Json::object();
  const auto beside = [&](const std::filesystem::path& name) {
    const std::string path = (parent / name).string();
    return formats::is_regular_file(path) ? path : std::string();
  };
  directory.tokenizer_json = beside(tokenizer_json.filename());
  directory.tokenizer_config_json = beside("tokenizer_config.json");
  directory.special_tokens_map_json = beside("special_tokens_map.json");
  directory.chat_template_jinja = beside("chat_template.jinja");
  return directory;
}

}  // namespace

Result<SourcePointer> open_huggingface_source(const std::string& path, bool vocabulary_only) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const bool is_directory = fs::is_directory(path, failed);
  const fs::path folder = is_directory ? fs::path(path) : fs::path(path).parent_path();
  const std::string tokenizer = (folder / "tokenizer.json").string();
  const bool has_config = formats::is_regular_file((folder / "config.json").string());
  if (vocabulary_only && !has_config && is_directory && formats::is_regular_file(tokenizer)) {
    return open_tokenizer_source(tokenizer);
  }
  CheckpointDir directory;
  if (vocabulary_only && !has_config && !is_directory) {
    directory = tokenizer_directory(folder / "tokenizer.json");
  } else {
    QUERN_TRY(opened, CheckpointDir::open(folder.empty() ? "." : folder.string()));
    directory = std::move(opened);
  }
  if (!is_directory) {
    QUERN_TRY(weights, SafetensorsFile::open(path));
    directory.weights = std::move(weights);
  }
  auto source = std::make_unique<HuggingFaceSource>(path, std::move(directory));
  QUERN_CHECK(source->read(vocabulary_only));
  return SourcePointer(std::move(source));
}

Result<SourcePointer> open_tokenizer_source(const std::string& path) {
  auto source = std::make_unique<HuggingFaceSource>(path, tokenizer_directory(path));
  QUERN_CHECK(source->read(true));
  return SourcePointer(std::move(source));
}

}  // namespace quern::convert
