#include "small_tokenizers.h"

#include <doctest/doctest.h>

#include "formats/tokenizer_json.h"
#include "golden.h"
#include "text/tokenizer/image_builder.h"

namespace quern::testing {

using formats::Json;

const Json& pipeline_fixture() {
  static const Json fixture = [] {
    const std::string path =
        std::string(QUERN_SOURCE_DIR) + "/tests/text_tokenizer/fixtures/pipelines.json";
    auto json = formats::parse_json(read_file(path), path);
    REQUIRE_MESSAGE(json.ok(), json.error().describe());
    return std::move(json).value();
  }();
  return fixture;
}

namespace {

Json with_added_tokens(const std::string& model, const Json& added) {
  Json out = Json::object();
  out["version"] = "1.0";
  out["model"] = pipeline_fixture()["models"][model];
  out["added_tokens"] = Json::array();
  std::size_t id = out["model"]["vocab"].size();
  for (const Json& token : added) {
    Json row = token;
    row["id"] = id++;
    out["added_tokens"].push_back(std::move(row));
  }
  return out;
}

}  // namespace

Json model_json(const std::string& model, const Json& pre_tokenizer) {
  Json out = with_added_tokens(model, pipeline_fixture()["added_tokens"]);
  if (!pre_tokenizer.is_null()) out["pre_tokenizer"] = pre_tokenizer;
  return out;
}

Json pipeline_json(std::size_t i) {
  const Json& pipeline = pipeline_fixture()["pipelines"][i];
  const Json* own = pipeline.find("added_tokens");
  Json out = with_added_tokens(pipeline["model"].string(),
                               own != nullptr ? *own : pipeline_fixture()["added_tokens"]);
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    if (pipeline.contains(key)) out[key] = pipeline[key];
  }
  return out;
}

std::vector<std::byte> image_of(const Json& tokenizer_json) {
  const auto spec = formats::read_tokenizer_json(tokenizer_json, "small");
  REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
  auto image = text::build_tokenizer_image(*spec);
  REQUIRE_MESSAGE(image.ok(), image.error().describe());
  return std::move(image).value();
}

}  // namespace quern::testing
