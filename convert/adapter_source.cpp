#include "convert/adapter_source.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/mapped_file.h"
#include "formats/safetensors_reader.h"

namespace quern::convert {
namespace {

using formats::Json;

constexpr std::uint64_t kLargestConfig = 1u << 20;

/// Settings of PEFT that change the mathematics and must be off.
constexpr std::string_view kMustBeOff[] = {"use_qalora", "use_bdlora", "lora_bias",
                                           "layer_replication", "alora_invocation_tokens"};

constexpr std::string_view kMagnitude = ".lora_magnitude_vector", kFactors = ".ia3_l",
                           kTokenRows = ".token_adapter.trainable_tokens_delta";

/// What both kinds of file do with halves of pairs as they meet them.
class PairedSource : public AdapterSource {
 public:
  PairedSource(std::string path, std::string_view kind, Naming naming, const Model& base)
      : kind_(kind), naming_(naming) {
    path_ = std::move(path);
    files_ = {path_};
    config_ = base.config();
  }

  std::string_view kind() const noexcept override { return kind_; }
  Naming naming() const noexcept override { return naming_; }
  void release(const SourceTensor&) const noexcept override {}
  bool has_tokenizer() const noexcept override { return false; }
  Result<std::vector<std::byte>> tokenizer_image() const override {
    return std::vector<std::byte>();
  }
  Result<formats::TokenizerSpec> tokenizer_spec() const override {
    return formats::TokenizerSpec();
  }

 protected:
  Status find_base_architecture() {
    QUERN_TRY(name, config_.string("architecture"));
    architecture_ = models::find_architecture(name);
    return architecture_ != nullptr ? Status() : Status(unknown_architecture(path_, name));
  }

  /// \param module the matrix's name in the file, without what marks the half.
  void add_half(const std::string& module, const SourceTensor& tensor, bool is_b) {
    (is_b ? b_ : a_)[module] = tensor;
  }
  /// The lengths that the rows of a matrix get (DoRA).
  void add_magnitude(const std::string& module, const SourceTensor& tensor) {
    magnitudes_[module] = tensor;
  }
  /// Factors (IA3): `[rows, 1]` of what a matrix gives, `[1, cols]` of what it takes.
  Status add_scale(const std::string& module, const SourceTensor& tensor) {
    const auto& shape = tensor.shape;
    if (shape.size() != 2 || (shape[0] != 1 && shape[1] != 1)) {
      return Error(ErrorCode::kMismatch, "factors of a matrix lie in one row or in one column")
          .in_file(path_)
          .of(formats::quote(module));
    }
    scales_[module] = tensor;
    return {};
  }
  void add_vector(SourceTensor tensor) { vectors_.push_back(std::move(tensor)); }
  /// The pairs of this module belong to a table that is looked up.
  void mark_lookup(const std::string& module) { lookups_.insert(module); }

  /// Puts the halves together: B under name_of(module), with scale_of(module).
  template <class NameOf, class ScaleOf>
  Status finish(NameOf name_of, ScaleOf scale_of) {
    std::vector<SourceTensor> tensors = std::move(vectors_);
    for (const auto& [module, a] : a_) {
      if (b_.find(module) == b_.end()) return half_missing(module, "B");
    }
    for (auto& [module, b] : b_) {
      const auto a = a_.find(module);
      if (a == a_.end()) return half_missing(module, "A");
      if (!is_pair(a->second, b, lookups_.count(module) != 0)) {
        return Error(ErrorCode::kMismatch, "the two matrices of a pair have different ranks")
            .in_file(path_)
            .of(formats::quote(module));
      }
      QUERN_TRY(scale, scale_of(module));
      b.name = name_of(module);
      const bool lookup = lookups_.count(module) != 0;
      MatrixUpdate update{lookup ? MatrixChange::kLookup : MatrixChange::kPair, module, a->second,
                          std::nullopt, scale};
      if (const auto found = magnitudes_.find(module); found != magnitudes_.end()) {
        QUERN_CHECK(check_magnitude(module, found->second, b.shape[0]));
        update.magnitude = found->second;
      }
      updates_.emplace_back(b.name, std::move(update));
      tensors.push_back(std::move(b));
    }
    for (const auto& [module, magnitude] : magnitudes_) {
      if (b_.find(module) == b_.end()) return half_missing(module, "B");
    }
    for (auto& [module, scale] : scales_) {
      const bool of_input = scale.shape[0] == 1 && scale.shape[1] != 1;
      scale.name = name_of(module);
      updates_.emplace_back(
          scale.name,
          MatrixUpdate{of_input ? MatrixChange::kInputScale : MatrixChange::kOutputScale, module});
      tensors.push_back(std::move(scale));
    }
    if (tensors.empty() && whole() == nullptr && token_rows_.empty()) {
      return Error(ErrorCode::kMismatch, "the file holds nothing that an adapter is made of")
          .in_file(path_);
    }
    set_tensors(std::move(tensors));
    return {};
  }

 private:
  /// A `[rank, cols]` and B `[rows, rank]`, or as many of both (GGUF's experts). A table that is
  /// looked up may lie as its rows (GGUF).
  static bool is_pair(const SourceTensor& a, const SourceTensor& b, bool lookup) {
    const std::size_t dims = a.shape.size();
    if ((dims != 2 && dims != 3) || b.shape.size() != dims) return false;
    if (lookup && dims == 2 && a.shape[1] == b.shape[1]) return true;
    return a.shape[dims - 2] == b.shape[dims - 1] && (dims == 2 || a.shape[0] == b.shape[0]);
  }

  Status check_magnitude(const std::string& module, const SourceTensor& tensor,
                         std::uint64_t rows) const {
    std::uint64_t count = tensor.shape.empty() ? 0 : 1;
    for (const std::uint64_t n : tensor.shape) count *= n;
    if (count == rows && tensor.encoding) return {};
    return Error(ErrorCode::kMismatch, "the magnitudes of a pair are not those of its rows")
        .in_file(path_)
        .of(formats::quote(module))
        .want(std::to_string(rows) + " floats")
        .got(std::to_string(count) + " of " + tensor.type_name);
  }

  Error half_missing(const std::string& module, const char* which) const {
    return Error(ErrorCode::kMissing, std::string("a low-rank pair lacks its matrix ") + which)
        .in_file(path_)
        .of(formats::quote(module));
  }

  std::string_view kind_;
  Naming naming_;
  std::map<std::string, SourceTensor> a_, b_, magnitudes_, scales_;
  std::set<std::string> lookups_;
  std::vector<SourceTensor> vectors_;
};

/// PEFT's pattern without ".*\\." before a name, which says no more than that something may be
/// there.
std::string without_any_module(const std::string& key) {
  constexpr std::string_view kAny = ".*\\.";
  return key.starts_with(kAny) ? key.substr(kAny.size()) : key;
}

/// Whether PEFT's pattern `key` names `module`: the whole of it or its end. Other regular
/// expressions are refused when the configuration is read.
bool names_module(const std::string& key, const std::string& module) {
  return module == key || (module.size() > key.size() && module.ends_with("." + key));
}

/// The tensors of an adapter that take the place of the base's.
class WholeTensors final : public PairedSource {
 public:
  WholeTensors(const std::string& path, const Model& base, std::vector<SourceTensor> tensors)
      : PairedSource(path, "peft", Naming::kHuggingFace, base) {
    set_tensors(std::move(tensors));
  }
};

/// A directory of PEFT, or a lone file of vectors.
class PeftSource final : public PairedSource {
 public:
  PeftSource(std::string path, formats::SafetensorsFile file, Json settings, const Model& base)
      : PairedSource(std::move(path), "peft", Naming::kHuggingFace, base),
        base_(base),
        file_(std::move(file)),
        settings_(std::move(settings)) {}

  Status read() {
    QUERN_CHECK(find_base_architecture());
    if (settings_.is_object()) QUERN_CHECK(check_settings());
    for (const formats::SafeTensor& tensor : file_.tensors()) QUERN_CHECK(take(tensor));
    if (!replaced_.empty())
      whole_ = std::make_unique<WholeTensors>(path_, base_, std::move(replaced_));
    if (!copied_.empty())
      copies_ = std::make_unique<WholeTensors>(path_, base_, std::move(copied_));
    QUERN_CHECK(finish(
        [this](const std::string& module) {
          return parameters_.count(module) != 0 ? module : module + ".weight";
        },
        [this](const std::string& module) { return scale_of(module); }));
    return check_dora();
  }

  const SourceModel* whole() const noexcept override { return whole_.get(); }
  const SourceModel* copies() const noexcept override { return copies_.get(); }
  bool turns_parameters() const noexcept override {
    // Versions write themselves since 0.18; 0.19 is the first that looks how a parameter is stored.
    const std::string& version = settings_["peft_version"].string();
    return version.empty() || version.starts_with("0.18.");
  }

 private:
  Error unsupported(std::string_view key, std::string found) const {
    return Error(ErrorCode::kUnsupported, "this adapter needs what quern does not implement")
        .in_file(path_)
        .of(std::string(key))
        .got(found.substr(0, 64));
  }

  Status check_settings() const {
    const std::string_view type = settings_["peft_type"].string();
    if (type != "LORA" && type != "IA3") {
      return unsupported("peft_type", formats::dump_json(settings_["peft_type"]));
    }
    for (const std::string_view key : kMustBeOff) {
      const Json* value = settings_.find(key);
      const bool off = value == nullptr || value->is_null() ||
                       (value->is_boolean() && !value->boolean()) ||
                       ((value->is_array() || value->is_object()) && value->empty());
      if (!off) return unsupported(key, formats::dump_json(*value));
    }
    for (const char* patterns : {"rank_pattern", "alpha_pattern"}) {
      if (!settings_[patterns].is_object()) continue;
      for (const auto& [key, value] : settings_[patterns].items()) {
        if (without_any_module(key).find_first_of("^$*+?()[]{}|\\") != std::string::npos ||
            !value.is_number()) {
          return unsupported(patterns, key);
        }
      }
    }
    return {};
  }

  Result<PairScale> scale_of(const std::string& module) const {
    double alpha = settings_["lora_alpha"].number();
    for (const auto& [key, value] : settings_["alpha_pattern"].items()) {
      if (names_module(without_any_module(key), module)) alpha = value.number();
    }
    if (!settings_["lora_alpha"].is_number() || !std::isfinite(alpha)) {
      return Error(ErrorCode::kMissing, "the adapter's configuration lacks its scale")
          .in_file(path_)
          .of("lora_alpha");
    }
    return PairScale{alpha, settings_["use_rslora"].boolean()};
  }

  bool uses_dora() const { return settings_["use_dora"].boolean(); }

  /// DoRA says so in its configuration and brings magnitudes for every pair, or does neither.
  Status check_dora() const {
    for (const auto& [name, update] : updates_) {
      if (update.change != MatrixChange::kPair || !uses_dora() || update.magnitude) continue;
      return Error(ErrorCode::kMissing, "a low-rank pair lacks its magnitudes (use_dora)")
          .in_file(path_)
          .of(formats::quote(update.module + std::string(kMagnitude)));
    }
    return {};
  }

  /// The parameters of `module` that the adapter targets, in the order in which PEFT wraps them:
  /// that of the module's own list.
  std::vector<std::string> targeted_parameters(const std::string& module) const {
    std::set<std::string> names;
    for (const Json& target : settings_["target_parameters"]) {
      const std::string path(target.string());
      const std::string name = path.substr(path.rfind('.') + 1);
      // A name alone, as PEFT 0.21 writes it for experts, means whatever module has the parameter.
      if (path == name && !module.ends_with(".experts")) continue;
      if (names_module(path, module + "." + name)) names.insert(name);
    }
    std::vector<std::string> ordered;
    for (const char* first : {"gate_up_proj", "down_proj"})
      if (names.erase(first) != 0) ordered.emplace_back(first);
    ordered.insert(ordered.end(), names.begin(), names.end());
    return ordered;
  }

  /// What the tensors under `module` change: the module's weight, or a parameter of it
  /// (`target_parameters`). Of several the first is wrapped by the second, and so its tensors lie
  /// under "….base_layer".
  Result<std::string> parameter_of(std::string module) {
    constexpr std::string_view kWrapped = ".base_layer";
    std::size_t depth = 0;
    for (; module.ends_with(kWrapped); ++depth) module.resize(module.size() - kWrapped.size());
    const std::vector<std::string> names = targeted_parameters(module);
    if (names.empty() && depth == 0) return module;
    const bool known = names.size() == 1 || (names.size() == 2 && names[1] == "down_proj");
    if (!known || depth >= names.size())
      return unsupported("target_parameters", formats::dump_json(settings_["target_parameters"]));
    const std::string& name = names[names.size() - 1 - depth];
    module += "." + name;
    parameters_.insert(module);
    return module;
  }

  /// The ids whose rows `module` replaces, in their order: a list for the input embedding, or one
  /// for every module that is named.
  Result<std::vector<std::int64_t>> token_ids_of(const std::string& module) const {
    const Json& all = settings_["trainable_token_indices"];
    const Json* own = all.is_array() ? &all : nullptr;
    if (all.is_object()) {
      for (const auto& [key, value] : all.items()) {
        if (names_module(key, module)) own = &value;
      }
    }
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; own != nullptr && i < own->size(); ++i) {
      if ((*own)[i].is_integer()) ids.push_back((*own)[i].integer());
    }
    if (own != nullptr && !ids.empty() && ids.size() == own->size()) return ids;
    return Error(ErrorCode::kMissing, "the adapter's configuration names no tokens for its rows")
        .in_file(path_)
        .of("trainable_token_indices")
        .want("ids for " + formats::quote(module));
  }

  Error strange(const std::string& tensor) const {
    return Error(ErrorCode::kUnsupported, "quern does not know what this tensor of an adapter does")
        .in_file(path_)
        .of(formats::quote(tensor));
  }

  Status take(const formats::SafeTensor& tensor) {
    SourceTensor out;
    out.shape = tensor.shape;
    out.type_name = tensor.dtype_name;
    if (tensor.dtype != nullptr) out.encoding = tensor.dtype->encoding;
    out.data = tensor.data;
    std::string name = tensor.name;
    constexpr std::string_view kWrapper = "base_model.model.";
    if (name.starts_with(kWrapper)) name.erase(0, kWrapper.size());
    for (const bool is_b : {false, true}) {
      // "….lora_A.weight", or with the adapter's own name in between.
      const std::size_t at = name.find(is_b ? ".lora_B." : ".lora_A.");
      if (at == std::string::npos || !name.ends_with("weight")) continue;
      QUERN_TRY(module, parameter_of(name.substr(0, at)));
      add_half(module, out, is_b);
      return {};
    }
    for (const bool is_b : {false, true}) {
      // A parameter, not a module: nothing stands behind it but perhaps the adapter's own name.
      const std::size_t at = name.find(is_b ? ".lora_embedding_B" : ".lora_embedding_A");
      if (at == std::string::npos) continue;
      const std::string module = name.substr(0, at);
      mark_lookup(module);
      add_half(module, out, is_b);
      return {};
    }
    if (const std::size_t at = name.find(kTokenRows); at != std::string::npos) {
      const std::string module = name.substr(0, at);
      QUERN_TRY(ids, token_ids_of(module));
      token_rows_.push_back({module, out, std::move(ids)});
      return {};
    }
    return take_other(std::move(name), std::move(out), tensor.name);
  }

  /// Factors, lengths of rows, and what takes the place of the base's.
  Status take_other(std::string name, SourceTensor out, const std::string& full_name) {
    // "….ia3_l"; "….lora_magnitude_vector", in older files with ".weight" behind it.
    if (const std::size_t at = name.find(kFactors); at != std::string::npos) {
      return add_scale(name.substr(0, at), out);
    }
    if (const std::size_t at = name.find(kMagnitude); at != std::string::npos && uses_dora()) {
      add_magnitude(name.substr(0, at), out);
      return {};
    }
    if (name.find("lora_") != std::string::npos || out.shape.empty()) return strange(full_name);
    // What has a pair or is saved whole lies under a wrapper of its own.
    bool is_base = false;
    for (const std::string_view wrapper : {".base_layer.", ".modules_to_save."}) {
      const std::size_t at = name.find(wrapper);
      if (at == std::string::npos) continue;
      name.erase(at, wrapper.size() - 1);
      is_base = wrapper == ".base_layer.";
    }
    out.name = name;
    if (out.shape.size() == 1)
      add_vector(std::move(out));
    else if (!settings_.is_object())
      return strange(full_name);
    else
      (is_base ? copied_ : replaced_).push_back(std::move(out));
    return {};
  }

  const Model& base_;
  formats::SafetensorsFile file_;
  Json settings_;                     ///< Null for a file of vectors.
  std::set<std::string> parameters_;  ///< Modules that are parameters.
  std::vector<SourceTensor> replaced_, copied_;
  std::unique_ptr<WholeTensors> whole_, copies_;
};

/// An adapter of llama.cpp's: "<tensor>.lora_a", "<tensor>.lora_b".
class GgufAdapterSource final : public PairedSource {
 public:
  GgufAdapterSource(SourcePointer file, const Model& base)
      : PairedSource(file->path(), "gguf", Naming::kGguf, base), file_(std::move(file)) {}

  Status read() {
    QUERN_CHECK(find_base_architecture());
    const Json& metadata = file_->metadata();
    if (metadata["general.type"].string() != "adapter" ||
        metadata["adapter.type"].string() != "lora" ||
        !metadata["adapter.lora.alpha"].is_number()) {
      return Error(ErrorCode::kMismatch, "the GGUF file is no low-rank adapter")
          .in_file(path_)
          .of("general.type, adapter.type, adapter.lora.alpha")
          .want("adapter, lora, a number");
    }
    const double alpha = metadata["adapter.lora.alpha"].number();
    for (const SourceTensor& tensor : file_->tensors()) {
      const bool is_b = tensor.name.ends_with(".lora_b");
      if (!is_b && !tensor.name.ends_with(".lora_a")) {
        return Error(ErrorCode::kUnsupported,
                     "quern does not know what this tensor of an adapter does")
            .in_file(path_)
            .of(formats::quote(tensor.name));
      }
      const std::string module = tensor.name.substr(0, tensor.name.size() - 7);
      if (module == "token_embd.weight") mark_lookup(module);
      add_half(module, tensor, is_b);
    }
    return finish([](const std::string& module) { return module; },
                  [alpha](const std::string&) -> Result<PairScale> { return PairScale{alpha}; });
  }

 private:
  SourcePointer file_;
};

}  // namespace

float PairScale::of(std::uint64_t rank) const noexcept {
  const double size = static_cast<double>(rank);
  return static_cast<float>(alpha / (by_root ? std::sqrt(size) : size));
}

const MatrixUpdate* AdapterSource::update_of(const std::string& name) const noexcept {
  const auto found = std::find_if(updates_.begin(), updates_.end(),
                                  [&](const auto& update) { return update.first == name; });
  return found == updates_.end() ? nullptr : &found->second;
}

Result<std::unique_ptr<AdapterSource>> open_adapter_source(const std::string& path,
                                                           const Model& base) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const bool is_directory = fs::is_directory(path, failed);
  if (!is_directory) {
    QUERN_TRY(format, sniff_source(path));
    if (format == SourceFormat::kGguf) {
      QUERN_TRY(file, open_gguf_source(path, true));
      auto source = std::make_unique<GgufAdapterSource>(std::move(file), base);
      QUERN_CHECK(source->read());
      return std::unique_ptr<AdapterSource>(std::move(source));
    }
  }
  const fs::path folder = is_directory ? fs::path(path) : fs::path(path).parent_path();
  const std::string settings_path = (folder / "adapter_config.json").string();
  Json settings;
  if (formats::is_regular_file(settings_path)) {
    QUERN_TRY(text, formats::read_file(settings_path, kLargestConfig));
    QUERN_TRY(json, formats::parse_json(text, settings_path));
    settings = std::move(json);
  } else if (is_directory) {
    return Error(ErrorCode::kMissing, "the directory holds no adapter")
        .in_file(path)
        .want("adapter_config.json and adapter_model.safetensors");
  }
  QUERN_TRY(file, formats::SafetensorsFile::open(
                      is_directory ? (folder / "adapter_model.safetensors").string() : path));
  auto source = std::make_unique<PeftSource>(path, std::move(file), std::move(settings), base);
  QUERN_CHECK(source->read());
  return std::unique_ptr<AdapterSource>(std::move(source));
}

}  // namespace quern::convert
