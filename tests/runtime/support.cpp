#include "support.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "convert/convert.h"
#include "formats/json.h"
#include "models/architecture.h"

namespace quern::test {
namespace {

std::optional<std::string> folder(const std::filesystem::path& path) {
  if (std::filesystem::exists(path / "config.json")) return path.string();
  if (std::getenv("CI") != nullptr) {
    FAIL_CHECK("the reference data are absent: " << path.string());
  } else {
    MESSAGE("the reference data are absent: " << path.string());
  }
  return std::nullopt;
}

template <class T>
std::vector<T> values(const std::string& directory, const std::string& name, const char* dtype) {
  auto file = formats::SafetensorsFile::open(directory + "/golden.safetensors");
  REQUIRE(file.ok());
  const formats::SafeTensor* tensor = file->find(name);
  REQUIRE(tensor != nullptr);
  REQUIRE(tensor->dtype_name == dtype);
  std::vector<T> result(tensor->data.size() / sizeof(T));
  std::memcpy(result.data(), tensor->data.data(), tensor->data.size());
  return result;
}

}  // namespace

std::optional<std::string> golden_model(const std::string& name) {
  return folder(std::filesystem::path(QUERN_GOLDENS_DIR) / "models" / name);
}

std::optional<std::string> handbook_model() {
  return folder(std::filesystem::path(QUERN_GOLDENS_DIR) / "../eval/models/handbook-12m");
}

std::vector<std::string> goldens_of(const std::set<std::string>& kinds) {
  std::vector<std::string> folders;
  const auto any = golden_model("llama3");
  if (!any) return folders;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(*any).parent_path())) {
    const auto about = formats::read_json_file((entry.path() / "golden.json").string());
    if (!about.ok() || kinds.count(std::string((*about)["kind"].string())) == 0) continue;
    if (models::find_by_hf_class((*about)["model_class"].string()) != nullptr)
      folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<std::string> golden_names() {
  return {"llama2", "llama3", "smollm2", "mistral", "qwen2", "qwen3", "gemma3_text"};
}

const Model& opened(const std::string& path, int threads) {
  static std::map<std::pair<std::string, int>, Model> models;
  const auto key = std::pair(path, threads);
  const auto found = models.find(key);
  if (found != models.end()) return found->second;
  ModelOptions options;
  options.threads = threads;
  auto model = convert::open_any(path, options);
  if (!model.ok()) FAIL(model.error().describe());
  return models.emplace(key, std::move(*model)).first->second;
}

Session new_session(const Model& model, const SessionOptions& options) {
  auto session = Session::create(model, options);
  if (!session.ok()) FAIL(session.error().describe());
  return std::move(*session);
}

std::vector<TokenId> golden_ids(const std::string& directory, const std::string& tensor) {
  const auto wide = values<std::int64_t>(directory, tensor, "I64");
  return {wide.begin(), wide.end()};
}

std::vector<float> golden_floats(const std::string& directory, const std::string& tensor) {
  return values<float>(directory, tensor, "F32");
}

std::vector<float> all_logits(const Model& model, std::span<const TokenId> ids, std::int64_t chunk,
                              KvType kv) {
  SessionOptions options;
  options.batch_rows = chunk;
  options.output_rows = chunk;
  options.kv = kv;
  Session session = new_session(model, options);
  std::vector<float> all;
  const Status done = session.step_all(ids, [&](std::int64_t first, std::span<const float> rows) {
    CHECK(static_cast<std::size_t>(first) * static_cast<std::size_t>(model.vocab_size()) ==
          all.size());
    all.insert(all.end(), rows.begin(), rows.end());
    return Status();
  });
  REQUIRE(done.ok());
  return all;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace quern::test
