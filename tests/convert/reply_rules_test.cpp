// The rules of a generation_config.json, with one beam and with many, against transformers'
// replies. rules/make.py made what is compared with.
#include <doctest/doctest.h>

#include <algorithm>

#include "fixtures.h"
#include "formats/json.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

using formats::Json;

std::vector<TokenId> ids_of(const Json& list) {
  std::vector<TokenId> ids;
  for (const Json& id : list) ids.push_back(static_cast<TokenId>(id.integer()));
  return ids;
}

/// transformers' reply without the end token and what fills the row behind it.
std::vector<TokenId> until(std::vector<TokenId> ids, std::int64_t end) {
  ids.erase(std::find(ids.begin(), ids.end(), static_cast<TokenId>(end)), ids.end());
  return ids;
}

/// The golden model with a generation configuration of its own, in `folder`.
Model model_with(const TempFolder& folder, const std::string& source, const Json& about,
                 const Json& reply) {
  Json settings = reply["settings"];
  settings["eos_token_id"] = about["end"].integer();
  settings["do_sample"] = false;
  if (!about["start"].is_null()) settings["decoder_start_token_id"] = about["start"].integer();
  settings["num_beams"] = reply["beams"].integer();
  settings["max_new_tokens"] = about["new"].integer();
  write_bytes(folder.file("generation_config.json"), formats::dump_json(settings));
  for (const char* file : {"config.json", "model.safetensors"}) {
    if (!std::filesystem::exists(folder.file(file)))
      std::filesystem::copy_file(source + "/" + file, folder.file(file));
  }
  return must(open_any(folder.path()));
}

std::vector<TokenId> reply_of(const Model& model, const std::vector<TokenId>& prompt) {
  SessionOptions options;
  options.context = 48;
  Session session = must(Session::create(model, options));
  std::vector<TokenId> start = prompt;
  if (model.is_encoder_decoder()) {
    must(session.read_source(prompt));
    start.assign(model.decoder_start().begin(), model.decoder_start().end());
  }
  const BeamOptions search = model.default_beams();
  if (search.beams > 1) return must(session.beam_search(start, search)).front().ids;
  GenerateOptions generation;
  generation.sampling = model.default_sampling();
  generation.max_tokens = search.max_tokens;
  return must(session.generate(start, generation)).ids;
}

}  // namespace

TEST_CASE("the rules of a generation configuration give transformers' replies, beams or none") {
  const Json all = must(formats::read_json_file(fixture("../rules/replies.json")));
  for (const Json& about : all) {
    const auto source = golden(about["model"].string());
    if (!source) return;
    CAPTURE(about["model"].string());
    const TempFolder folder;
    const std::vector<TokenId> prompt = ids_of(about["prompt"]);
    std::vector<std::vector<TokenId>> different;
    for (const Json& reply : about["replies"]) {
      CAPTURE(formats::dump_json(reply["settings"]));
      CAPTURE(reply["beams"].integer());
      const Model model = model_with(folder, *source, about, reply);
      const auto want = until(ids_of(reply["ids"]), about["end"].integer());
      CHECK(reply_of(model, prompt) == want);
      if (std::find(different.begin(), different.end(), want) == different.end())
        different.push_back(want);
    }
    CHECK(different.size() >= 8);  // The rules matter.
  }
}

namespace {

/// What a golden says to this generation configuration.
Result<Model> opened_with(const std::string& source, const std::string& generation) {
  const TempFolder folder;
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(source + "/" + file, folder.file(file));
  write_bytes(folder.file("generation_config.json"), generation);
  return open_any(folder.path());
}

}  // namespace

TEST_CASE("what a generation configuration asks for and quern lacks is refused by name") {
  const auto source = golden("llama3");
  if (!source) return;
  const std::pair<const char*, const char*> rows[] = {
      {"typical_p", "0.9"},
      {"eta_cutoff", "0.001"},
      {"guidance_scale", "1.5"},
      {"penalty_alpha", "0.6"},
      {"num_beam_groups", "2"},
      {"diversity_penalty", "0.5"},
      {"force_words_ids", "[[5]]"},
      {"stop_strings", "[\"x\"]"},
      {"watermarking_config", "{\"bias\": 2}"},
      {"remove_invalid_values", "true"},
      {"token_healing", "true"},
      {"no_repeat_ngram_size", "-1"},
      {"temperature", "\"hot\""},
      {"top_p", "1.5"},
      {"num_beams", "65"},
      {"exponential_decay_length_penalty", "[3]"},
      {"sequence_bias", "[[5, 1.0]]"},
  };
  for (const auto& row : rows) {
    const std::string key = row.first, value = row.second;
    CAPTURE(key);
    const auto model = opened_with(*source, "{\"" + key + "\": " + value + "}");
    REQUIRE_FALSE(model.ok());
    CHECK(model.error().field == key);
    CHECK(model.error().file.find("generation_config.json") != std::string::npos);
  }
  for (const char* settings :
       {R"({"typical_p": 1.0, "num_beam_groups": 1, "guidance_scale": null, "stop_strings": []})",
        R"({"remove_invalid_values": false, "max_time": null, "use_cache": true})"}) {
    CAPTURE(settings);
    CHECK(opened_with(*source, settings).ok());
  }
}

TEST_CASE("without a generation configuration the model's own says how to reply") {
  const auto source = golden("bart");
  if (!source) return;
  const TempFolder folder;
  std::filesystem::copy_file(*source + "/model.safetensors", folder.file("model.safetensors"));
  std::string config = read_bytes(*source + "/config.json");
  const std::size_t at = config.find("\"d_model\"");
  REQUIRE(at != std::string::npos);
  write_bytes(folder.file("config.json"),
              std::string(config).insert(at, R"("num_beams": 4, "no_repeat_ngram_size": 3, )"));
  const Model model = must(open_any(folder.path()));
  CHECK(model.default_beams().beams == 4);
  CHECK(model.default_beams().no_repeat_ngram == 3);
  write_bytes(folder.file("config.json"),
              std::string(config).insert(at, R"("num_beam_groups": 2, )"));
  const auto refused = open_any(folder.path());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().field == "num_beam_groups");
}

TEST_CASE("a key that nobody knows is told, and does no harm") {
  const auto source = golden("llama3");
  if (!source) return;
  const TempFolder folder;
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(*source + "/" + file, folder.file(file));
  write_bytes(folder.file("generation_config.json"), R"({"tempreature": 0.5, "top_k": 5})");
  const auto report = must(convert(folder.path(), folder.file("a.quern"), plain_options()));
  bool told = false;
  for (const std::string& warning : report.plan.warnings)
    told = told || warning.find("tempreature") != std::string::npos;
  CHECK(told);
}

}  // namespace quern::convert::test
