// Every family with a golden through the converter: logits as transformers has them, and the same
// ones after a way through GGUF, where GGUF knows the family.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "models/architecture.h"
#include "quern/model.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-4;  // Of the logits' standard deviation.

/// The folders of decoders whose class is in the registry.
std::vector<std::string> decoder_folders() {
  std::vector<std::string> folders;
  const auto any = golden("llama2");
  if (!any) return folders;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(*any).parent_path())) {
    const auto about = formats::read_json_file(entry.path() / "golden.json");
    if (!about.ok() || (*about)["kind"].string() != "decoder") continue;
    if (models::find_by_hf_class((*about)["model_class"].string()) == nullptr) continue;
    folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// int64 or float32 elements of a golden's tensor.
template <class Stored, class T>
std::vector<T> golden_values(const formats::SafetensorsFile& file, const char* name) {
  std::vector<T> values;
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  for (std::size_t at = 0; at < tensor->data.size(); at += sizeof(Stored)) {
    Stored value;
    std::memcpy(&value, tensor->data.data() + at, sizeof value);
    values.push_back(static_cast<T>(value));
  }
  return values;
}

/// What a refusal names: GGUF does not know the family, or has no place for the configuration;
/// nullptr where it has.
const char* refused_by(const std::string& folder) {
  constexpr std::pair<std::string_view, const char*> kRefused[] = {{"gptj", "gptj"},
                                                                   {"opt", "opt"},
                                                                   {"opt_350m", "opt"},
                                                                   {"falcon_rw", "alibi"},
                                                                   {"qwen3_moe", "mixture_layers"}};
  const std::string name = std::filesystem::path(folder).filename().string();
  for (const auto& [refused, named] : kRefused)
    if (name == refused) return named;
  return nullptr;
}

void convert_or_fail(const std::string& from, const std::string& to) {
  const auto report = convert(from, to, plain_options());
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
}

TEST_CASE("every golden decoder keeps its logits through the converter and through GGUF") {
  for (const std::string& folder : decoder_folders()) {
    CAPTURE(folder);
    const TempFolder temp;
    convert_or_fail(folder, temp.file("a.quern"));
    const auto golden_file = formats::SafetensorsFile::open(folder + "/golden.safetensors");
    const auto about = formats::read_json_file(folder + "/golden.json");
    REQUIRE(golden_file.ok());
    const auto ids = golden_values<std::int64_t, TokenId>(*golden_file, "input_ids");
    const auto expected = golden_values<float, float>(*golden_file, "logits");
    const std::vector<float> logits = logits_of(must(Model::open(temp.file("a.quern"))), ids);
    REQUIRE(logits.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < logits.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(logits[i]) - expected[i]));
    CHECK(worst <= kTolerance * (*about)["output_std"].number());

    const auto gguf = convert(temp.file("a.quern"), temp.file("b.gguf"), plain_options());
    if (const char* named = refused_by(folder); named != nullptr) {
      REQUIRE(!gguf.ok());
      CHECK(gguf.error().code == ErrorCode::kUnsupported);
      CHECK(gguf.error().describe().find(named) != std::string::npos);
      continue;
    }
    REQUIRE_MESSAGE(gguf.ok(), (gguf.ok() ? "" : gguf.error().describe()));
    convert_or_fail(temp.file("b.gguf"), temp.file("c.quern"));
    CHECK(logits_of(must(Model::open(temp.file("c.quern"))), ids) == logits);
  }
}

}  // namespace
}  // namespace quern::convert::test
