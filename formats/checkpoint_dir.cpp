#include "formats/checkpoint_dir.h"

#include "formats/mapped_file.h"

namespace quern::formats {
namespace {

constexpr JsonLimits kConfigLimits{32, 16u << 20, 1u << 20};

/// \return `directory/name` where that is a regular file, or an empty string.
std::string existing(const std::string& directory, const char* name) {
  std::string path = directory + name;
  return is_regular_file(path) ? path : std::string();
}

Status open_weights(CheckpointDir& out, const std::string& directory) {
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"}) {
    const std::string path = existing(directory, name);
    if (path.empty()) continue;
    QUERN_TRY(weights, SafetensorsFile::open(path));
    out.weights = std::move(weights);
    return {};
  }
  for (const char* name :
       {"pytorch_model.bin.index.json", "pytorch_model.bin", "model.pt", "consolidated.00.pth"}) {
    const std::string path = existing(directory, name);
    if (path.empty()) continue;
    return Error(ErrorCode::kUnsupported, "pickled weights can run code and are never read")
        .in_file(path)
        .want("model.safetensors");
  }
  return {};
}

}  // namespace

Result<CheckpointDir> CheckpointDir::open(const std::string& directory) {
  CheckpointDir out;
  out.path = directory;
  const std::string base =
      directory.empty() || directory.back() == '/' ? directory : directory + "/";
  const std::string config_path = base + "config.json";
  QUERN_TRY(config_json, read_json_file(config_path, kConfigLimits, true));
  QUERN_TRY(config, flatten_json(config_json, config_path));
  out.config_json = std::move(config_json);
  out.config = std::move(config);
  if (const std::string path = existing(base, "generation_config.json"); !path.empty()) {
    QUERN_TRY(generation, read_json_file(path, kConfigLimits, true));
    out.generation_json = std::move(generation);
  }
  QUERN_CHECK(open_weights(out, base));
  out.tokenizer_json = existing(base, "tokenizer.json");
  out.tokenizer_config_json = existing(base, "tokenizer_config.json");
  out.special_tokens_map_json = existing(base, "special_tokens_map.json");
  out.chat_template_jinja = existing(base, "chat_template.jinja");
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    if (out.sentencepiece_model.empty()) out.sentencepiece_model = existing(base, name);
  }
  out.vocab_json = existing(base, "vocab.json");
  out.merges_txt = existing(base, "merges.txt");
  out.vocab_txt = existing(base, "vocab.txt");
  out.added_tokens_json = existing(base, "added_tokens.json");
  return out;
}

}  // namespace quern::formats
