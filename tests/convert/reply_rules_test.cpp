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

struct Answer {
  std::vector<TokenId> ids;
  std::string text;
};

Answer whole_reply(const Model& model, const std::vector<TokenId>& prompt,
                   std::vector<std::string> stop = {}, bool ignore_ends = false) {
  SessionOptions options;
  options.context = 48;
  Session session = must(Session::create(model, options));
  std::vector<TokenId> start = prompt;
  if (model.is_encoder_decoder()) {
    must(session.read_source(prompt));
    start.assign(model.decoder_start().begin(), model.decoder_start().end());
  }
  const BeamOptions search = model.default_beams();
  if (search.beams > 1) {
    const Hypothesis best = must(session.beam_search(start, search)).front();
    return {best.ids, best.text};
  }
  GenerateOptions generation;
  generation.sampling = model.default_sampling();
  generation.max_tokens = search.max_tokens;
  generation.stop = std::move(stop);
  generation.ignore_end_tokens = ignore_ends;
  const Generated reply = must(session.generate(start, generation));
  return {reply.ids, reply.text};
}

std::vector<TokenId> reply_of(const Model& model, const std::vector<TokenId>& prompt) {
  return whole_reply(model, prompt).ids;
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
      {"stop_strings", "[\"x\", \"\"]"},
      {"stop_strings", "\"\""},
      {"stop_strings", "[7]"},
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

namespace {

/// The golden with a tokenizer and with a row's stop strings in its generation configuration.
Model stopping_model(const TempFolder& folder, const std::string& source, const Json& about,
                     const Json& row) {
  if (!std::filesystem::exists(folder.file("tokenizer.json")))
    std::filesystem::copy_file(
        fixture("../rules/stops_" + std::to_string(about["vocab"].integer()) + ".json"),
        folder.file("tokenizer.json"));
  Json settings = Json::object();
  settings["stop_strings"] = row["stop_strings"];
  settings["suppress_tokens"] = about["banned"];
  if (row["sequence_bias"].is_null())
    settings["suppress_tokens"].push_back(0);
  else
    settings["sequence_bias"] = row["sequence_bias"];
  Json with = Json::object();
  with["settings"] = std::move(settings);
  with["beams"] = row["beams"].integer();
  Json plain = about;
  plain["end"] = -1;
  return model_with(folder, source, plain, with);
}

/// A reply's text by transformers, up to the stop string that is complete first.
std::string before_stop(const Json& row) {
  const std::string text = row["text"].string();
  std::size_t end = std::string::npos, begin = end;
  const auto look = [&](const std::string& stop) {
    const std::size_t at = text.find(stop);
    if (at == std::string::npos) return;
    if (at + stop.size() > end || (at + stop.size() == end && at > begin)) return;
    end = at + stop.size();
    begin = at;
  };
  if (row["stop_strings"].is_string()) look(row["stop_strings"].string());
  for (const Json& stop : row["stop_strings"]) look(stop.string());
  return text.substr(0, begin);
}

}  // namespace

TEST_CASE("stop_strings end a reply where transformers ends it, beams or none") {
  const Json all = must(formats::read_json_file(fixture("../rules/stops.json")));
  for (const Json& about : all) {
    const auto source = golden(about["model"].string());
    if (!source) return;
    CAPTURE(about["model"].string());
    const TempFolder folder;
    const std::vector<TokenId> prompt = ids_of(about["prompt"]);
    std::size_t stopped = 0;
    for (const Json& row : about["replies"]) {
      CAPTURE(formats::dump_json(row["stop_strings"]));
      CAPTURE(row["beams"].integer());
      const Model model = stopping_model(folder, *source, about, row);
      const auto reply = whole_reply(model, prompt);
      CHECK(reply.ids == ids_of(row["ids"]));
      CHECK(reply.text == before_stop(row));
      const bool ends = static_cast<std::int64_t>(reply.ids.size()) < about["new"].integer();
      stopped += ends ? 1 : 0;
    }
    CHECK(stopped >= 8);
  }
}

TEST_CASE("stop strings of a caller come on top of the model's own, which can be left out") {
  const Json all = must(formats::read_json_file(fixture("../rules/stops.json")));
  const Json& about = all[std::size_t{0}];
  std::size_t at = 0;  // Of a row with one beam, one stop string and some text before it.
  const auto& rows = about["replies"];
  while (rows[at]["beams"].integer() != 1 || rows[at]["stop_strings"].size() != 1 ||
         before_stop(rows[at]).size() < 2)
    ++at;
  const Json& row = rows[at];
  const auto source = golden(about["model"].string());
  if (!source) return;
  const TempFolder folder;
  const Model model = stopping_model(folder, *source, about, row);
  // The settings go through a container.
  must(convert(folder.path(), folder.file("a.quern"), plain_options()));
  const Model again = must(Model::open(folder.file("a.quern")));
  const std::vector<TokenId> prompt = ids_of(about["prompt"]);
  const auto told = whole_reply(again, prompt);
  CHECK(told.ids == ids_of(row["ids"]));
  REQUIRE(told.text.size() >= 2);

  const std::string sooner = told.text.substr(1, 1);
  CHECK(whole_reply(model, prompt, {sooner}).text == told.text.substr(0, told.text.find(sooner)));
  CHECK(whole_reply(model, prompt, {"no such text"}).ids == told.ids);
  const auto longer = whole_reply(model, prompt, {}, true);
  CHECK(static_cast<std::int64_t>(longer.ids.size()) == about["new"].integer());
  CHECK(longer.text.starts_with(told.text + row["stop_strings"][std::size_t{0}].string()));
  BeamOptions search = model.default_beams();
  search.beams = 1;
  search.stop = {sooner};
  Session session = must(Session::create(model));
  const auto found = must(session.beam_search(prompt, search)).front();
  CHECK(found.text == told.text.substr(0, told.text.find(sooner)));
  CHECK(found.finished);
  search.stop = {""};
  CHECK(session.beam_search(prompt, search).error().code == ErrorCode::kInvalidArgument);
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
