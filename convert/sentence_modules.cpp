#include "convert/sentence_modules.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::Json;

constexpr std::string_view kOnRows = "token_embeddings", kOnEmbedding = "sentence_embedding";
constexpr std::size_t kMostSteps = 64;

/// sentence-transformers' word, its older flag, ours; in the order in which the flags are joined.
struct PoolingWord {
  std::string_view word, flag, canonical;
};
constexpr std::array<PoolingWord, 6> kPoolings = {{
    {"cls", "pooling_mode_cls_token", "first"},
    {"max", "pooling_mode_max_tokens", "max"},
    {"mean", "pooling_mode_mean_tokens", "mean"},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", "mean_sqrt"},
    {"weightedmean", "pooling_mode_weightedmean_tokens", "weighted_mean"},
    {"lasttoken", "pooling_mode_lasttoken", "last"},
}};

/// The last part of an activation's name, ours.
constexpr std::pair<std::string_view, std::string_view> kActivations[] = {
    {"Identity", ""},     {"Tanh", "tanh"}, {"ReLU", "relu"},
    {"GELU", "gelu_erf"}, {"SiLU", "silu"}, {"Sigmoid", "sigmoid"},
};

Result<bool> is_set(const Json& json, const char* key, const std::string& file, bool absent) {
  const Json& value = json[key];
  if (value.is_null()) return absent;
  if (!value.is_boolean())
    return Error(ErrorCode::kMalformed, "a value is neither true nor false").in_file(file).of(key);
  return value.boolean();
}

/// Every flag of poolings that stands in the configuration must be one that is known.
Status check_flags(const Json& json, const std::string& file) {
  for (const formats::JsonMember& item : json.items()) {
    const std::string_view key = item.key;
    if (!key.starts_with("pooling_mode_")) continue;
    QUERN_TRY(set, is_set(json, item.key.c_str(), file, false));
    const bool known = std::any_of(kPoolings.begin(), kPoolings.end(),
                                   [&](const PoolingWord& row) { return row.flag == key; });
    if (set && !known)
      return Error(ErrorCode::kUnsupported, "this pooling is not implemented")
          .in_file(file)
          .of(item.key);
  }
  return {};
}

/// What is pooled, in sentence-transformers' words: the newer key holds one or some, and counts
/// where there are older flags too; without any flag the mean is meant.
Result<std::vector<std::string>> pooling_words(const Json& json, const std::string& file) {
  std::vector<std::string> words;
  const Json& mode = json["pooling_mode"];
  if (mode.is_string()) return std::vector{mode.string()};
  if (mode.is_array()) {
    for (const Json& word : mode) words.push_back(word.string());
    if (!words.empty()) return words;
  }
  if (!mode.is_null())
    return Error(ErrorCode::kMalformed, "the kind of pooling is no word")
        .in_file(file)
        .of("pooling_mode");
  QUERN_CHECK(check_flags(json, file));
  for (const PoolingWord& row : kPoolings) {
    if (json[std::string(row.flag).c_str()].boolean()) words.emplace_back(row.word);
  }
  if (words.empty()) words.emplace_back("mean");
  return words;
}

/// Where a module lies. An empty path is the checkpoint's own folder.
Result<std::string> folder_of(const Json& module, const std::string& base,
                              const std::string& file) {
  const std::string& path = module["path"].string();
  if (path.find("..") != std::string::npos || path.starts_with('/'))
    return Error(ErrorCode::kMalformed, "a module lies outside the checkpoint")
        .in_file(file)
        .of("path")
        .got(formats::quote(path));
  return base + path + (path.empty() || path.ends_with('/') ? "" : "/");
}

/// One layer before or behind the pooling.
struct Layer {
  std::string word, activation;
  std::int64_t in = 0, out = 0;
  bool bias = false, residual = false;
  std::optional<formats::SafetensorsFile> weights;
};

/// Follows the modules and keeps what has a say in the embedding. Used once.
class ModuleReader {
 public:
  ModuleReader(std::string base, std::int64_t dim)
      : base_(std::move(base)), file_(base_ + "modules.json"), rows_width_(dim) {}

  Status read() {
    QUERN_TRY(modules, formats::read_json_file(file_));
    if (!modules.is_array())
      return Error(ErrorCode::kMalformed, "the list of modules is no JSON array").in_file(file_);
    for (const Json& module : modules) QUERN_CHECK(add(module));
    return {};
  }

  /// Writes the keys and gives the weights away.
  std::vector<ModuleWeights> finish(Config& config) && {
    // What normalizes last is said apart, so that a caller can leave it out.
    bool normalize = false;
    for (; !embedding_.empty() && embedding_.back().word == "normalize"; embedding_.pop_back())
      normalize = true;
    config.set("embedding.normalize", normalize);
    config.set("embedding.pools_prompt", pools_prompt_);
    if (words_.size() == 1) config.set("embedding.pooling", words_.front());
    if (words_.size() > 1) {
      ConfigList list;
      for (const std::string& word : words_) list.emplace_back(word);
      config.set("embedding.pooling", std::move(list));
    }
    rows_.resize(pooled_rows_);
    const std::size_t n_rows = rows_.size();
    for (Layer& layer : embedding_) rows_.push_back(std::move(layer));
    return write_steps(n_rows, config);
  }

 private:
  Status add(const Json& module) {
    if (!module.is_object())
      return Error(ErrorCode::kMalformed, "a module is no JSON object").in_file(file_);
    const std::string& type = module["type"].string();
    const std::string kind = type.substr(type.rfind('.') + 1);
    if (kind == "Transformer" || kind == "Dropout") return {};  // Nothing is dropped here.
    QUERN_TRY(folder, folder_of(module, base_, file_));
    if (kind == "Pooling") return add_pooling(folder + "config.json");
    if (kind == "Normalize") return add_normalize(folder + "config.json");
    if (kind == "Dense") return add_dense(folder);
    if (kind == "LayerNorm") return add_layer_norm(folder);
    return Error(ErrorCode::kUnsupported, "a module of sentence-transformers is not implemented")
        .in_file(file_)
        .of("type")
        .want("Transformer, Pooling, Dense, LayerNorm, Normalize or Dropout")
        .got(formats::quote(type));
  }

  Status add_pooling(const std::string& file) {
    QUERN_TRY(json, formats::read_json_file(file));
    if (!json.is_object())
      return Error(ErrorCode::kMalformed, "a pooling is described by a JSON object").in_file(file);
    QUERN_TRY(words, pooling_words(json, file));
    words_.clear();
    for (const std::string& word : words) {
      const auto known = std::find_if(kPoolings.begin(), kPoolings.end(),
                                      [&](const PoolingWord& row) { return word == row.word; });
      if (known == kPoolings.end())
        return Error(ErrorCode::kUnsupported, "this pooling is not implemented")
            .in_file(file)
            .of("pooling_mode")
            .want("cls, max, mean, mean_sqrt_len_tokens, weightedmean or lasttoken")
            .got(formats::quote(word));
      words_.emplace_back(known->canonical);
    }
    QUERN_TRY(pools_prompt, is_set(json, "include_prompt", file, true));
    pools_prompt_ = pools_prompt;
    // The embedding begins anew.
    embedding_.clear();
    pooled_rows_ = rows_.size();
    width_ = rows_width_ * static_cast<std::int64_t>(words_.size());
    return {};
  }

  /// The layers that the module joins, and their width now.
  Result<std::pair<std::vector<Layer>*, std::int64_t*>> stage(const Json& json,
                                                              const std::string& file) {
    const Json& in = json["module_input_name"];
    const Json& out = json["module_output_name"];
    const std::string from = in.is_string() ? in.string() : std::string(kOnEmbedding);
    const std::string to = out.is_string() ? out.string() : from;
    for (const auto& [key, name] :
         {std::pair("module_input_name", from), std::pair("module_output_name", to)}) {
      if ((name == kOnRows || name == kOnEmbedding) && name == from) continue;
      return Error(ErrorCode::kUnsupported, "a module that works on this is not implemented")
          .in_file(file)
          .of(key)
          .want("token_embeddings or sentence_embedding, from and to the same")
          .got(formats::quote(name));
    }
    if (from == kOnRows) return std::pair(&rows_, &rows_width_);
    return std::pair(&embedding_, &width_);
  }

  Error no_embedding(const std::string& file) const {
    return Error(ErrorCode::kMalformed, "a module works on an embedding, and none before it pools")
        .in_file(file);
  }

  Status append(std::pair<std::vector<Layer>*, std::int64_t*> at, Layer layer,
                const std::string& file) {
    const auto [layers, width] = at;
    if (*width == 0) return no_embedding(file);
    if (layers->size() == kMostSteps)
      return Error(ErrorCode::kLimit, "there are too many modules").in_file(file_);
    if (layer.in == 0) layer.in = layer.out = *width;
    if (layer.in != *width)
      return Error(ErrorCode::kMismatch, "a module does not fit what stands before it")
          .in_file(file)
          .of(layer.word == "dense" ? "in_features" : "dimension")
          .want(std::to_string(*width))
          .got(std::to_string(layer.in));
    *width = layer.out;
    layers->push_back(std::move(layer));
    return {};
  }

  Status add_normalize(const std::string& file) {
    Json json = Json::object();
    if (formats::is_regular_file(file)) {
      QUERN_TRY(read, formats::read_json_file(file));
      if (read.is_object()) json = std::move(read);
    }
    QUERN_TRY(at, stage(json, file));
    if (*at.second == 0) return {};  // sentence-transformers has nothing to normalize either.
    Layer layer;
    layer.word = "normalize";
    return append(at, std::move(layer), file);
  }

  Result<std::string> activation_of(const Json& json, const std::string& file) const {
    const Json& value = json["activation_function"];
    if (value.is_null()) return std::string("tanh");
    const std::string& name = value.string();
    const std::string last = name.substr(name.rfind('.') + 1);
    for (const auto& [theirs, ours] : kActivations) {
      if (name.starts_with("torch.nn.") && last == theirs) return std::string(ours);
    }
    return Error(ErrorCode::kUnsupported, "this activation of a Dense module is not implemented")
        .in_file(file)
        .of("activation_function")
        .want("torch.nn's Identity, Tanh, ReLU, GELU, SiLU or Sigmoid")
        .got(formats::quote(name));
  }

  static Result<std::int64_t> width_of(const Json& json, const char* key, const std::string& file) {
    const Json& value = json[key];
    if (value.is_integer() && value.integer() > 0 && value.integer() < (1 << 24))
      return value.integer();
    return Error(ErrorCode::kOutOfRange, "a module's width is no number of columns")
        .in_file(file)
        .of(key);
  }

  static Result<formats::SafetensorsFile> open_weights(const std::string& folder) {
    const std::string path = folder + "model.safetensors";
    if (formats::is_regular_file(path)) return formats::SafetensorsFile::open(path);
    if (formats::is_regular_file(folder + "pytorch_model.bin"))
      return Error(ErrorCode::kUnsupported, "pickled weights can run code and are never read")
          .in_file(folder + "pytorch_model.bin")
          .want("model.safetensors");
    return Error(ErrorCode::kMissing, "a module has no weights").in_file(path);
  }

  Status add_dense(const std::string& folder) {
    const std::string file = folder + "config.json";
    QUERN_TRY(json, formats::read_json_file(file));
    if (!json.is_object())
      return Error(ErrorCode::kMalformed, "a module is described by a JSON object").in_file(file);
    QUERN_TRY(at, stage(json, file));
    Layer layer;
    layer.word = "dense";
    QUERN_TRY(in, width_of(json, "in_features", file));
    QUERN_TRY(out, width_of(json, "out_features", file));
    QUERN_TRY(bias, is_set(json, "bias", file, true));
    QUERN_TRY(residual, is_set(json, "use_residual", file, false));
    QUERN_TRY(activation, activation_of(json, file));
    QUERN_TRY(weights, open_weights(folder));
    layer.in = in;
    layer.out = out;
    layer.bias = bias;
    layer.residual = residual;
    layer.activation = std::move(activation);
    layer.weights = std::move(weights);
    return append(at, std::move(layer), file);
  }

  Status add_layer_norm(const std::string& folder) {
    const std::string file = folder + "config.json";
    QUERN_TRY(json, formats::read_json_file(file));
    Layer layer;
    layer.word = "layer_norm";
    QUERN_TRY(width, width_of(json, "dimension", file));
    layer.in = layer.out = width;
    QUERN_TRY(weights, open_weights(folder));
    layer.weights = std::move(weights);
    return append({&embedding_, &width_}, std::move(layer), file);
  }

  /// The keys of models/sentence_modules.h, of all layers in one list.
  std::vector<ModuleWeights> write_steps(std::size_t n_rows, Config& config) {
    std::vector<ModuleWeights> weights;
    if (rows_.empty()) return weights;
    ConfigList steps, activations, dense, bias, residual, norm;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      Layer& layer = rows_[i];
      const std::string key = "embedding.step." + std::to_string(i);
      config.set(key + ".in", layer.in);
      config.set(key + ".out", layer.out);
      if (layer.residual) config.set(key + ".residual", true);
      steps.emplace_back(layer.word);
      activations.emplace_back(layer.activation);
      dense.emplace_back(layer.word == "dense");
      bias.emplace_back(layer.bias);
      residual.emplace_back(layer.residual && layer.in != layer.out);
      norm.emplace_back(layer.word == "layer_norm");
      if (layer.weights) weights.push_back({i, *std::move(layer.weights)});
    }
    config.set("embedding.n_steps", static_cast<std::int64_t>(rows_.size()));
    config.set("embedding.n_row_steps", static_cast<std::int64_t>(n_rows));
    config.set("embedding.steps", std::move(steps));
    config.set("embedding.activations", std::move(activations));
    config.set("embedding.dense", std::move(dense));
    config.set("embedding.dense_bias", std::move(bias));
    config.set("embedding.residual", std::move(residual));
    config.set("embedding.layer_norm", std::move(norm));
    return weights;
  }

  std::string base_, file_;
  std::vector<std::string> words_;  ///< Poolings, canonical.
  bool pools_prompt_ = true;
  std::vector<Layer> rows_, embedding_;
  std::size_t pooled_rows_ = 0;          ///< Layers of `rows_` that the pooling has behind it.
  std::int64_t rows_width_, width_ = 0;  ///< 0: no embedding yet.
};

}  // namespace

Result<std::vector<ModuleWeights>> read_sentence_modules(const std::string& base, Config& config) {
  if (!formats::is_regular_file(base + "modules.json")) return std::vector<ModuleWeights>();
  QUERN_TRY(dim, config.integer("dim"));
  ModuleReader reader(base, dim);
  QUERN_CHECK(reader.read());
  return std::move(reader).finish(config);
}

}  // namespace quern::convert
