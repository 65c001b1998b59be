#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/safetensors_reader.h"
#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

Json json_of(const std::vector<std::string>& words, std::string_view input = {}) {
  const Outcome outcome = quern::test::quern(words, input);
  CAPTURE(words[0]);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  const Json json = Json::parse(outcome.out, nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  return json;
}

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<float> logits_in(const std::string& path) {
  auto file = quern::formats::SafetensorsFile::open(path);
  if (!file.ok()) FAIL(file.error().describe());
  const auto* tensor = file->find("logits");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->dtype_name == "F32");
  std::vector<float> values(tensor->data.size() / 4);
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

std::string ids_of(const std::string& directory) {
  auto file = quern::formats::SafetensorsFile::open(directory + "/golden.safetensors");
  REQUIRE(file.ok());
  const auto* tensor = file->find("input_ids");
  REQUIRE(tensor != nullptr);
  std::string text;
  for (std::size_t i = 0; i < tensor->data.size(); i += 8) {
    std::int64_t id = 0;
    std::memcpy(&id, tensor->data.data() + i, 8);
    text += (text.empty() ? "" : ",") + std::to_string(id);
  }
  return text;
}

}  // namespace

TEST_CASE("run streams what --json reports, the same for the same seed") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::vector<std::string> words{"run", *model, "-p",     "The package manager",
                                       "-n",  "20",   "--seed", "7"};
  auto with_json = words;
  with_json.push_back("--json");
  const Json json = json_of(with_json);
  CHECK(json["ids"].size() <= 20);
  CHECK(json["generated_tokens"] == json["ids"].size());
  CHECK(json["fast"] == false);
  for (const char* key :
       {"prompt_tokens", "prefill_ms", "decode_ms", "finish_reason", "isa", "threads"})
    CHECK(json.contains(key));
  const Outcome streamed = quern::test::quern(words);
  CHECK(streamed.status == 0);
  CHECK(streamed.err.empty());
  const auto text = json["text"].get<std::string>();
  CHECK(streamed.out == (!text.empty() && text.back() == '\n' ? text : text + "\n"));
  with_json[7] = "8";
  CHECK(json_of(with_json)["ids"] != json["ids"]);
  // Threads change no bit.
  with_json[7] = "7";
  with_json.insert(with_json.end(), {"--threads", "3"});
  CHECK(json_of(with_json)["ids"] == json["ids"]);
}

TEST_CASE("run takes prompts from stdin, raw ones, and ones that begin with a dash") {
  const auto model = handbook_quern();
  if (!model) return;
  const Json piped =
      json_of({"run", *model, "-p", "-", "-n", "4", "--greedy", "--json", "--raw"}, "Debian is");
  const Json given =
      json_of({"run", *model, "-p", "Debian is", "-n", "4", "--greedy", "--json", "--raw"});
  CHECK(piped["ids"] == given["ids"]);
  const Json templated =
      json_of({"run", *model, "-p", "Debian is", "-n", "4", "--greedy", "--json"});
  CHECK(templated["prompt_tokens"].get<int>() > given["prompt_tokens"].get<int>());
  const Json system =
      json_of({"run", *model, "-p", "Debian is", "--system", "- be brief", "-n", "1", "--json"});
  CHECK(system["prompt_tokens"].get<int>() > templated["prompt_tokens"].get<int>());
  CHECK(json_of({"run", *model, "-p", "-x y", "-n", "1", "--json"})["generated_tokens"] == 1);
}

TEST_CASE("MODEL may come through a pipe") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::string bytes = file_text(*model);
  const Json piped =
      json_of({"run", "-", "-p", "Debian is", "-n", "4", "--greedy", "--json"}, bytes);
  const Json named = json_of({"run", *model, "-p", "Debian is", "-n", "4", "--greedy", "--json"});
  CHECK(piped["ids"] == named["ids"]);
  CHECK(piped["model"] == "stdin");
  const Json described = json_of({"inspect", "-", "--json", "--graph"}, bytes);
  CHECK(described["file"] == "stdin");
  CHECK(described["weights_hash"] == json_of({"verify", "-", "--json"}, bytes)["weights_hash"]);
  const quern::testing::TempDir folder;
  const Json converted = json_of({"convert", "-", "-o", folder.file("a.quern"), "--json"}, bytes);
  CHECK(converted["output_bytes"] == file_text(folder.file("a.quern")).size());
  const std::string lines = folder.write("lines.jsonl", "{\"text\":\"Debian is\"}\n");
  CHECK(quern::test::quern({"tokenize", "-", "--jsonl", lines}, bytes).out ==
        quern::test::quern({"tokenize", *model, "--jsonl", lines}).out);
}

TEST_CASE("run ends at stop strings and at the context") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::vector<std::string> base{"run",   *model,     "-p",    "You can install",
                                      "--raw", "--greedy", "--json"};
  auto words = base;
  words.insert(words.end(), {"-n", "30"});
  const auto text = json_of(words)["text"].get<std::string>();
  REQUIRE(text.size() > 30);
  words.insert(words.end(), {"--stop", "\x02", "--stop", text.substr(10, 4)});
  const Json stopped = json_of(words);
  CHECK(stopped["text"] == text.substr(0, text.find(text.substr(10, 4))));
  CHECK(stopped["finish_reason"] == "stop");
  words = base;
  words.insert(words.end(), {"--ctx", "32", "--ignore-eos"});
  const Json full = json_of(words);
  CHECK(full["finish_reason"] == "context_full");
  CHECK(full["prompt_tokens"].get<int>() + full["generated_tokens"].get<int>() == 33);
  const Outcome too_long =
      quern::test::quern({"run", *model, "-p", std::string(4000, 'x'), "--ctx", "16"});
  CHECK(too_long.status == 1);
  CHECK(too_long.out.empty());
  CHECK(too_long.err.find("context") != std::string::npos);
}

TEST_CASE("logits are transformers', whatever the batch, and a directory will do as MODEL") {
  const auto directory = reference("models/llama3");
  if (!directory) return;
  const quern::testing::TempDir folder;
  const std::string ids = ids_of(*directory), out = folder.file("out.safetensors");
  REQUIRE(quern::test::quern({"logits", *directory, "--ids", ids, "-o", out}).status == 0);
  const auto found = logits_in(out), expected = logits_in(*directory + "/golden.safetensors");
  REQUIRE(found.size() == expected.size());
  float worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i)
    worst = std::max(worst, std::fabs(found[i] - expected[i]));
  CHECK(worst < 2e-3F);
  const std::string bytes = file_text(out);
  for (const char* batch : {"1", "7", "64"}) {
    const Json json =
        json_of({"logits", *directory, "--ids", "-", "-o", out, "--batch", batch, "--json"}, ids);
    CHECK(json["tensor"] == "logits");
    CHECK(file_text(out) == bytes);
  }
  CHECK(quern::test::quern({"logits", *directory, "--ids", "1,999999", "-o", folder.file("no")})
            .status == 1);
  CHECK(folder.entries() == 1);
}

TEST_CASE("tokenize answers the golden cases line by line, both ways, whatever holds them") {
  const quern::testing::TempDir folder;
  for (const std::string file :
       {"smollm2/ggml-vocab-smollm2.gguf", "llama-bpe/ggml-vocab-llama-bpe.gguf",
        "bert-bge/ggml-vocab-bert-bge.gguf", "minilm/tokenizer.json", "minilm", "small-t5.quern",
        "llama-spm.quern"}) {
    const auto directory =
        reference("tokenizers/" + file.substr(0, std::min(file.find('/'), file.find(".quern"))));
    if (!directory) return;
    CAPTURE(file);
    const std::string cases = *directory + "/cases.jsonl";
    std::string model = *directory + file.substr(std::min(file.find('/'), file.size()));
    if (file.ends_with(".quern")) {
      model = folder.file(file);
      const Json report =
          json_of({"convert", *directory + "/tokenizer.json", "-o", model, "--json"});
      CHECK(report["warnings"].size() == 1);
      CHECK(json_of({"verify", model, "--json"})["strings_checked"].get<int>() > 20);
    }
    const Outcome encoded = quern::test::quern({"tokenize", model, "--jsonl", cases});
    const Outcome decoded = quern::test::quern({"tokenize", model, "--decode", "--jsonl", cases});
    REQUIRE(encoded.status == 0);
    REQUIRE(decoded.status == 0);
    std::istringstream ids(encoded.out), texts(decoded.out);
    std::ifstream wanted(cases, std::ios::binary);
    int wrong = 0, lines = 0;
    for (std::string line, id_line, text_line; std::getline(wanted, line); ++lines) {
      const Json expected = Json::parse(line);
      REQUIRE(std::getline(ids, id_line));
      REQUIRE(std::getline(texts, text_line));
      wrong += Json::parse(id_line)["ids"] != expected["ids"];
      if (!expected["decoded"].is_null())
        wrong += Json::parse(text_line)["text"] != expected["decoded"];
    }
    CHECK(lines > 20);
    CHECK(wrong == 0);
  }
}

TEST_CASE("tokenize reads stdin, writes plain ids or JSON, and comes back") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome plain = quern::test::quern({"tokenize", *model}, "apt install");
  const Json json = json_of({"tokenize", *model, "--json"}, "apt install");
  std::string ids;
  for (const Json& id : json["ids"])
    ids += (ids.empty() ? "" : " ") + std::to_string(id.get<int>());
  CHECK(plain.out == ids + "\n");
  CHECK(json["ids"][0] == 0);  // The BOS.
  CHECK(quern::test::quern({"tokenize", *model, "--decode"}, plain.out).out == "apt install");
  CHECK(quern::test::quern({"tokenize", *model, "--decode"}, json.dump()).out == "apt install");
  CHECK(json_of({"tokenize", *model, "--decode", "--json", "--show-special"}, ids)["text"] ==
        "<|bos|>apt install");
  CHECK(quern::test::quern({"tokenize", *model, "--decode"}, "1 2 x").status == 1);
  CHECK(quern::test::quern({"tokenize", *model, "--decode"}, "1 99999999").status == 1);
  const Outcome lines = quern::test::quern(
      {"tokenize", *model, "--jsonl", "-"},
      "{\"text\":\"a\\u2028b\xE2\x80\xA8\"}\n{\"text\":\"\",\"add_special\":false}\n");
  CHECK(lines.status == 0);
  CHECK(std::count(lines.out.begin(), lines.out.end(), '\n') == 2);
  CHECK(lines.out.substr(lines.out.find('\n') + 1) == "{\"ids\":[]}\n");
  for (const char* bad :
       {"{}\n", "[1]\n", "{\"text\":1}\n", "nonsense\n", "{\"text\":\"x\",\"add_special\":3}\n"}) {
    const Outcome outcome = quern::test::quern({"tokenize", *model, "--jsonl", "-"}, bad);
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("line 1") != std::string::npos);
  }
}

TEST_CASE("template prints golden prompts exactly, and a template's own words as status 1") {
  const quern::testing::TempDir folder;
  for (const char* name :
       {"SmolLM2-135M-Instruct", "Llama-3", "phi-4", "meta-llama-Llama-3.1-8B-Instruct",
        "mistralai-Mistral-7B-Instruct-v0.2"}) {
    const auto directory = reference(std::string("chat_templates/") + name);
    if (!directory) return;
    CAPTURE(name);
    const Json cases = Json::parse(file_text(*directory + "/cases.json"));
    const std::string now = cases["now"];
    int done = 0;
    for (const Json& one : cases["cases"]) {
      if (++done > 6) break;
      Json conversation = one.value("kwargs", Json::object());
      for (const char* key : {"messages", "tools", "documents", "add_generation_prompt"})
        if (one.contains(key)) conversation[key] = one[key];
      const std::string json = folder.write("conversation.json", conversation.dump());
      const Outcome outcome =
          quern::test::quern({"template", "--template", *directory + "/template.jinja", "--json",
                              json, "--bos=" + one.value("bos_token", ""),
                              "--eos=" + one.value("eos_token", ""), "--now", now});
      CAPTURE(one["name"].get<std::string>());
      if (one.contains("expected_error")) {
        CHECK(outcome.status == 1);
        CHECK(outcome.err.find(one["expected_error"].get<std::string>()) != std::string::npos);
      } else {
        CHECK(outcome.status == 0);
        CHECK(outcome.out == one["expected"].get<std::string>());
      }
    }
  }
}

TEST_CASE("template uses the model's own where no other is given") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::string conversation =
      R"({"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true})";
  const Outcome outcome = quern::test::quern({"template", *model, "--json", "-"}, conversation);
  CHECK(outcome.status == 0);
  CHECK(outcome.out == "<|bos|><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const Outcome cut = quern::test::quern({"template", *model, "--json", "-"}, "{");
  CHECK(cut.status == 1);
  CHECK(cut.err.find("quern: stdin: ") == 0);
  const quern::testing::TempDir folder;
  const std::string list = folder.write("list.json", "[]"), wrong = folder.write("t", "{% if %}");
  CHECK(quern::test::quern({"template", *model, "--json", list}).err.find("quern: " + list) == 0);
  CHECK(quern::test::quern({"template", "--json", "-", "--template", wrong}, conversation)
            .err.find("quern: " + wrong) == 0);
}

TEST_CASE("convert, inspect, verify, quantize and plan agree about one file") {
  const auto source = handbook();
  const auto model = handbook_quern();
  if (!source || !model) return;
  const quern::testing::TempDir folder;
  const Json dry =
      json_of({"convert", *source, "-o", folder.file("x.quern"), "--dry-run", "--json"});
  CHECK(dry["architecture"] == "llama");
  CHECK(folder.entries() == 0);
  const Json info = json_of({"inspect", *model, "--tensors", "--graph", "--json"});
  CHECK(info["kind"] == "quern");
  CHECK(info["tensors"].size() == dry["tensors"].size());
  CHECK(info["graph"].get<std::string>().find("attention") != std::string::npos);
  const Json verified = json_of({"verify", *model, "--json"});
  CHECK(verified["ok"] == true);
  CHECK(verified["weights_hash"] == info["weights_hash"]);
  CHECK(verified["logits_checked"].get<int>() > 0);

  const std::string small = folder.file("small.quern"), report = folder.file("report.json");
  const Json made =
      json_of({"quantize", *model, "-o", small, "--encoding", "q8", "--report", report, "--json"});
  CHECK(made["bits_per_weight"].get<double>() < 10);
  const Json tensors = Json::parse(file_text(report))["tensors"];
  CHECK(tensors.size() == dry["tensors"].size());
  CHECK(json_of({"verify", small, "--json"})["ok"] == true);
  const Json plan = json_of({"plan", small, "--ctx", "128", "--parallel", "2", "--json"});
  CHECK(plan["total_bytes"] == plan["weights_bytes"].get<std::uint64_t>() +
                                   plan["kv_bytes"].get<std::uint64_t>() +
                                   plan["scratch_bytes"].get<std::uint64_t>());
  CHECK(quern::test::quern({"inspect", small}).out.find("weights_hash: ") != std::string::npos);
  CHECK(quern::test::quern({"convert", small, "-o", small}).status == 1);

  std::string bytes = file_text(small);
  bytes[bytes.size() / 2] ^= 1;
  const Outcome broken = quern::test::quern({"verify", folder.write("broken.quern", bytes)});
  CHECK(broken.status == 1);
  CHECK(broken.err.find("quern: ") == 0);
}

TEST_CASE("quantize says what it looked at and what it chose") {
  const auto model = reference("models/llama3");
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::vector<std::string> common{"quantize", *model, "-o", folder.file("a.quern"),
                                        "--encoding"};
  const auto said = [&](std::vector<std::string> more, const char* words) {
    more.insert(more.begin(), common.begin(), common.end());
    const Outcome outcome = quern::test::quern(more);
    CHECK(outcome.status == 0);
    return outcome.err.find(words) != std::string::npos;
  };
  CHECK(said({"q5", "--observe"}, "chosen for the least damage"));
  CHECK_FALSE(said({"q5"}, "chosen for the least damage"));
  CHECK_FALSE(said({"q5"}, "the model wrote"));
#if defined(QUERN_WITH_OPENBLAS)
  CHECK(said({"q5", "--observe"}, "observed on what the model wrote itself"));
  CHECK(said({"qr4", "--observe"}, "observed on what the model wrote itself"));
#endif
}

TEST_CASE("a size that cannot be had is refused with the one that can") {
  const auto model = reference("models/llama3");
  if (!model) return;
  const quern::testing::TempDir folder;
  const Outcome refused =
      quern::test::quern({"quantize", *model, "-o", folder.file("a.quern"), "--target-bpw", "0.5"});
  CHECK(refused.status == 1);
  CHECK(refused.err.find("expected at least") != std::string::npos);
  CHECK(refused.err.find("raise the limit") == std::string::npos);
  CHECK(folder.entries() == 0);
}

TEST_CASE("bench and eval print what the contract says") {
  const auto model = handbook_quern();
  const auto text = reference("../eval/english-eval.txt");
  if (!model || !text) return;
  const Json bench =
      json_of({"bench", *model, "-p", "16", "-n", "4", "-r", "2", "--depth", "8", "--json"});
  CHECK(bench["results"].size() == 2);
  CHECK(bench["results"][0]["test"] == "prefill");
  CHECK(bench["results"][0]["tokens"] == 16);
  CHECK(bench["results"][0]["depth"] == 8);
  CHECK(bench["results"][0]["tokens_per_second"].size() == 2);
  CHECK(bench["results"][1]["test"] == "decode");
  CHECK(bench["peak_rss_bytes"].get<std::uint64_t>() > 1000000);
  CHECK(bench["load_ms"].get<double>() >= 0);

  const quern::testing::TempDir folder;
  const std::string saved = folder.file("saved.safetensors"), small = folder.file("small.quern");
  const std::vector<std::string> base{"eval",  "perplexity", *model,     "--text", *text,
                                      "--ctx", "64",         "--chunks", "2",      "--json"};
  auto words = base;
  words.insert(words.end(), {"--save-logits", saved});
  const Json one = json_of(words);
  CHECK(one["tokens"] == 64);
  CHECK(one["perplexity"].get<double>() > 10);
  CHECK_FALSE(one.contains("kl_divergence"));
  words = base;
  words.insert(words.end(), {"--against", saved, "--batch", "5"});
  const Json same = json_of(words);
  CHECK(same["perplexity"] == one["perplexity"]);
  CHECK(same["kl_divergence"]["max"] == 0.0);
  CHECK(same["top1_agreement"] == 1.0);
  REQUIRE(quern::test::quern({"quantize", *model, "-o", small, "--encoding", "q4"}).status == 0);
  words[2] = small;
  const Json other = json_of(words);
  CHECK(other["kl_divergence"]["mean"].get<double>() > 0);
  CHECK(other["kl_divergence"]["p99"].get<double>() >=
        other["kl_divergence"]["mean"].get<double>());
  words[8] = "3";
  CHECK(quern::test::quern(words).status == 1);  // Other windows.
}

TEST_CASE("the small programs that embed the library chat") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome cpp = run_program(QUERN_MINIMAL_CPP, {*model}, "What is apt?\nAnd dpkg?\n");
  const Outcome c = run_program(QUERN_MINIMAL_C, {*model}, "What is apt?\nAnd dpkg?\n");
  CHECK(cpp.status == 0);
  CHECK(cpp.out == c.out);  // The same model, seed and defaults.
  CHECK(cpp.out.size() > 10);
  CHECK(c.status == 0);
  for (const char* program : {QUERN_MINIMAL_CPP, QUERN_MINIMAL_C}) {
    const Outcome refused = run_program(program, {"/no/such/model"});
    CHECK(refused.status == 1);
    CHECK(refused.err.find("/no/such/model") != std::string::npos);
  }
}
