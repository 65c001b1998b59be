// The dry run, and what `inspect` shows.
#include <doctest/doctest.h>

#include "fixtures.h"
#include "formats/json.h"

namespace quern::convert::test {
namespace {

formats::Json describe_json(const std::string& path, bool tensors) {
  const auto text = describe(path, tensors);
  REQUIRE_MESSAGE(text.ok(), (text.ok() ? "" : text.error().describe()));
  const auto json = formats::parse_json(*text, path);
  REQUIRE(json.ok());
  return *json;
}

TEST_CASE("the dry run tells what the conversion does, and writes nothing") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"));
  for (const std::string output : {"b.quern", "b.gguf"}) {
    const auto options = plain_options("q4_0");
    const auto planned = plan(folder.file("a.gguf"), folder.file(output), options);
    REQUIRE(planned.ok());
    CHECK(folder.names() == std::vector<std::string>{"a.gguf"});
    const auto report = convert(folder.file("a.gguf"), folder.file(output), options);
    REQUIRE(report.ok());
    CHECK(!report->quality_json.empty());
    // A container's sections behind the data are in no plan; a GGUF file has room for its report.
    const std::uint64_t late =
        output == "b.quern" ? (report->quality_json.size() + 63) / 64 * 64 : 0;
    CHECK(planned->output_bytes + late == read_bytes(folder.file(output)).size());
    CHECK(planned->output_bytes + late == report->plan.output_bytes);
    CHECK(planned->tensors.size() == 11);
    CHECK(planned->architecture == "llama");
    CHECK(planned->source_kind == "gguf");
    CHECK(planned->bits_per_weight == doctest::Approx(4.5));
    for (const auto& tensor : planned->tensors) {
      const bool rotary =
          tensor.source == "blk.0.attn_q.weight" || tensor.source == "blk.0.attn_k.weight";
      CHECK(tensor.transform == (rotary && output == "b.quern" ? "rope permutation" : ""));
    }
    std::filesystem::remove(folder.file(output));
  }
}

TEST_CASE(
    "tensors that nobody asked for are refused, or named in a warning where that is asked for") {
  const auto path = golden("gemma3_text");
  if (!path) return;
  const auto planned = plan(*path, "out.quern", plain_options("q8"));
  REQUIRE(planned.ok());
  bool added = false;
  for (const auto& tensor : planned->tensors) added = added || tensor.transform == "add one";
  CHECK(added);

  const TempFolder folder;
  std::filesystem::create_directory(folder.file("m"));
  std::filesystem::create_symlink(*path + "/model.safetensors", folder.file("m/model.safetensors"));
  std::string config = read_bytes(*path + "/config.json");
  const auto at = config.find("\"num_hidden_layers\": 4");
  REQUIRE(at != std::string::npos);
  config.replace(at, 22, "\"num_hidden_layers\": 3");
  const auto types = config.find("\"full_attention\",\n    \"sliding_attention\"");
  REQUIRE(types != std::string::npos);
  config.replace(types, 41, "\"full_attention\"");
  write_bytes(folder.file("m/config.json"), config);
  ConvertOptions options = plain_options();
  const auto refused = plan(folder.file("m"), folder.file("o.quern"), options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("model.layers.3.") != std::string::npos);
  options.ignore_unused = true;
  const auto shorter = plan(folder.file("m"), folder.file("o.quern"), options);
  REQUIRE_MESSAGE(shorter.ok(), (shorter.ok() ? "" : shorter.error().describe()));
  bool named = false;
  for (const auto& warning : shorter->warnings) {
    named = named || warning.find("model.layers.3.") != std::string::npos;
  }
  CHECK(named);
}

TEST_CASE("a description holds the configuration, the sums and, where asked, every tensor") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"), {.encoding = Encoding::kQ8_0});
  REQUIRE(convert(folder.file("a.gguf"), folder.file("b.quern"), plain_options()).ok());
  const auto gguf = describe_json(folder.file("a.gguf"), true);
  CHECK(gguf["kind"] == "gguf");
  CHECK(gguf["architecture"] == "llama");
  CHECK(gguf["weights"]["tensors"] == 11);
  CHECK(gguf["tensors"].size() == 11);
  const auto quern = describe_json(folder.file("b.quern"), true);
  CHECK(quern["kind"] == "quern");
  CHECK(quern["config"]["dim"] == 256);
  CHECK(quern["provenance"]["source"]["file"] == "a.gguf");
  CHECK(quern["provenance"]["metadata"]["general.license"] == "apache-2.0");
  CHECK(quern["weights"]["encodings"]["q8_0"]["tensors"] == 8);
  CHECK(quern["tensors"].size() == 11);
  CHECK(quern["bytes"] == std::filesystem::file_size(folder.file("b.quern")));
  CHECK_FALSE(describe_json(folder.file("b.quern"), false).contains("tensors"));
  if (const auto path = golden("qwen2")) {
    CHECK(describe_json(*path, false)["kind"] == "safetensors");
  }
}

TEST_CASE("a model of an unknown architecture can still be looked at") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"), {.architecture = "nonesuch"});
  const auto json = describe_json(folder.file("a.gguf"), true);
  CHECK(json["problem"].string().find("nonesuch") != std::string::npos);
  CHECK(json["tensors"].size() == 11);
  if (const auto path = golden("whisper")) {
    CHECK(describe_json(*path, true)["tensors"].size() > 10);
  }
  CHECK_FALSE(describe(folder.file("absent"), false).ok());
}

TEST_CASE("a file of tensors without a configuration can still be looked at") {
  const auto path = golden("llama3");
  if (!path) return;
  const TempFolder folder;
  std::filesystem::copy_file(*path + "/golden.safetensors", folder.file("lone.safetensors"));
  const auto json = describe_json(folder.file("lone.safetensors"), true);
  CHECK(json["problem"].string().find("config.json") != std::string::npos);
  CHECK(json["kind"] == "safetensors");
  CHECK(json["tensors"].size() == 5);
  CHECK(json["bytes"] == std::filesystem::file_size(folder.file("lone.safetensors")));
}

}  // namespace
}  // namespace quern::convert::test
