// The program with `--device`: what users see, where there is a device and where there is none.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/process.h"
#include "cuda/test_device.h"
#include "support/temp_dir.h"

using namespace quern::test;

namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

using Words = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;

bool has_device() { return quern::backends::cuda::TestDevice::open() != nullptr; }

Outcome on_device(const std::string& device, Words words, const Environment& environment = {}) {
  words.insert(words.end(), {"--device", device});
  return quern::test::quern(words, {}, environment);
}

/// What `quern logits` writes for a golden on a device.
std::string logits_on(const std::string& device, const std::string& model, Words more,
                      const Environment& environment = {}) {
  const quern::testing::TempDir folder;
  const std::string out = folder.file("out.safetensors");
  Words words{"logits", model, "-o", out};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome outcome = on_device(device, words, environment);
  CAPTURE(outcome.err);
  CHECK(outcome.status == 0);
  return bytes_of(out);
}

/// What the emulated device did in the course of a command, by the names of its report.
std::map<std::string, long long> work_of(Words words) {
  const Outcome outcome = on_device("cuda", std::move(words), {{"QUERN_EMULATOR_REPORTS", "1"}});
  CAPTURE(outcome.err);
  CHECK(outcome.status == 0);
  const std::string title = "emulated device: launches";
  const std::size_t at = outcome.err.rfind(title);
  REQUIRE(at != std::string::npos);
  std::istringstream report(outcome.err.substr(at + std::string("emulated device:").size()));
  std::map<std::string, long long> work;
  std::string name, comma;
  for (long long value = 0; report >> name >> value; report >> comma) work[name] = value;
  return work;
}

}  // namespace

TEST_CASE("the program writes the same file on either device") {
  if (!has_device()) return;
  const std::vector<std::pair<std::string, Words>> cases = {
      {"models/llama3", {"--ids", "1,5,9,3,7,2", "--batch", "4"}},
      {"models/t5", {"--ids", "5,9,3,7,1", "--decoder-ids", "0,4,8"}},
      {"models/t5_gated", {"--ids", "5,9,3,7,1", "--decoder-ids", "0,4,8"}},
      {"models/bart", {"--ids", "0,9,3,7,2", "--decoder-ids", "2,0,4"}},
      {"models/bert", {"--ids", "1,5,9,3", "--type-ids", "0,0,1,1"}},
  };
  for (const auto& entry : cases) {
    const std::string& name = entry.first;
    Words words = entry.second;
    const auto model = reference(name);
    if (!model) continue;
    CAPTURE(name);
    const std::string host = logits_on("cpu", *model, words);
    CHECK(!host.empty());
    CHECK(logits_on("cuda", *model, words) == host);
    if (name == "models/llama3") {
      words.insert(words.end(), {"--gpu-layers", "1"});
      CHECK(logits_on("cuda", *model, words) == host);
    }
  }
}

TEST_CASE("a reply has the same tokens on either device, and a plan counts its memory") {
  if (!has_device()) return;
  const auto model = handbook_quern();
  if (!model) return;
  // Samplers that need one logit, some, more than a device ranks, all, and one with those that a
  // penalty may lower.
  const std::vector<Words> samplers = {{"--greedy"},
                                       {"--temp", "2", "--top-k", "20", "--seed", "5"},
                                       {"--temp", "2", "--top-k", "200", "--seed", "5"},
                                       {"--temp", "1", "--top-k", "0", "--seed", "7"},
                                       {"--temp", "0", "--repeat-penalty", "1.5"}};
  for (const Words& sampler : samplers) {
    Words words{"run", *model, "--raw", "-p", "The mill", "-n", "6"};
    words.insert(words.end(), sampler.begin(), sampler.end());
    CAPTURE(sampler.back());
    const Outcome host = on_device("cpu", words), device = on_device("cuda", words);
    CAPTURE(device.err);
    CHECK(device.status == 0);
    CHECK(device.out == host.out);
    words.insert(words.end(), {"--gpu-layers", "1"});
    CHECK(on_device("cuda", words).out == host.out);
  }
  const Outcome plan = on_device("cuda", {"plan", *model});
  CHECK(plan.status == 0);
  CHECK(plan.out.find("kv cache") != std::string::npos);
}

TEST_CASE(
    "a token is one recording, one wait, and one number back: in a reply and in a measurement") {
  const auto model = handbook_quern();
  if (!model || !quern::backends::cuda::Emulator::is_present()) return;
  const Words run{"run", *model, "--raw", "-p", "The mill", "--ctx", "64", "--greedy", "-n"};
  std::vector<Words> commands{run};
  std::vector<std::string> models{*model};
  for (const char* name : {"mixtral", "granitemoehybrid", "lfm2", "t5"}) {
    if (const auto golden = reference(std::string("models/") + name)) models.push_back(*golden);
  }
  // Two rounds, the one that is not counted included.
  for (const std::string& path : models)
    commands.push_back({"bench", path, "-p", "0", "-r", "1", "-n"});
  for (const Words& command : commands) {
    CAPTURE(command[0]);
    CAPTURE(command[1]);
    const auto of = [&command](const char* tokens) {
      Words its = command;
      its.push_back(tokens);
      return work_of(its);
    };
    auto few = of("4"), more = of("14");
    const long long steps = command.front() == "bench" ? 20 : 10;
    CHECK(more["recordings"] - few["recordings"] == steps);
    CHECK(more["synchronizations"] - few["synchronizations"] == steps);
    CHECK(more["bytes_to_host"] - few["bytes_to_host"] == 8 * steps);
  }
}

TEST_CASE("a plan counts what the device will hold, to the byte") {
  if (!quern::backends::cuda::Emulator::is_present()) return;
  for (const char* name : {"models/llama3", "models/t5", "models/granitemoehybrid"}) {
    const auto model = reference(name);
    if (!model) continue;
    CAPTURE(name);
    for (const Words& more : {Words{}, Words{"--gpu-layers", "1"}, Words{"--kv", "q8"}}) {
      const bool is_cut = !more.empty() && more.front() == "--gpu-layers";
      if (is_cut && std::string(name) == "models/t5") continue;  // Encoder–decoders are not cut.
      CAPTURE(is_cut);
      const auto with = [&more](Words words) {
        words.insert(words.end(), more.begin(), more.end());
        return words;
      };
      const Outcome plan = on_device("cuda", with({"plan", *model, "--ctx", "64", "--json"}));
      CAPTURE(plan.out);
      const std::string key = "\"device_bytes\":";
      const std::size_t at = plan.out.find(key);
      REQUIRE(at != std::string::npos);
      const long long planned = std::atoll(plan.out.c_str() + at + key.size());
      CHECK(planned > 0);
      auto work = work_of(with({"bench", *model, "-p", "64", "-n", "0", "-r", "1"}));
      CHECK(work["peak_bytes"] == planned);
    }
  }
  const auto model = reference("models/llama3");
  if (!model) return;
  const Outcome plan = on_device("cpu", {"plan", *model, "--json"});
  CHECK(plan.out.find("\"device_bytes\":0") != std::string::npos);
}

TEST_CASE("guesses and stop strings end in the same reply on either device") {
  if (!has_device()) return;
  const auto model = handbook_quern();
  if (!model) return;
  for (const Words& how : std::vector<Words>{{"--greedy"},
                                             {"--greedy", "--stop", "able to be able to"},
                                             {"--temp", "0.6", "--top-k", "5", "--seed", "3"}}) {
    CAPTURE(how.back());
    Words words{"run",   *model, "--raw", "-p", "The mill the mill the mill the",
                "--ctx", "128",  "-n",    "40", "--json"};
    words.insert(words.end(), how.begin(), how.end());
    // Text, ids, reason and counts; then come times.
    const auto reply = [&](const char* device) {
      const std::string out = on_device(device, words).out;
      return out.substr(0, out.find("\"prefill_ms\""));
    };
    const std::string host = reply("cpu");
    CHECK(host.find("\"guessed_tokens\":") != std::string::npos);
    CHECK(host.find("\"guessed_tokens\":0,") == std::string::npos);
    CHECK(reply("cuda") == host);
  }
}

TEST_CASE("what the machine lacks is one sentence, and auto goes on without it") {
  const auto model = reference("models/llama3");
  if (!model || !quern::backends::cuda::Emulator::is_present()) return;
  const Words words{"--ids", "1,5,9"};
  const Environment none{{"QUERN_EMULATOR_N_DEVICES", "0"}};
  const quern::testing::TempDir folder;
  const Outcome refused =
      on_device("cuda", {"logits", *model, "--ids", "1", "-o", folder.file("out")}, none);
  CHECK(refused.status == 1);
  CHECK(refused.err.find("device") != std::string::npos);
  CHECK(logits_on("auto", *model, words, none) == logits_on("cpu", *model, words));
}

TEST_CASE("too little memory and a lost device end the command, not the machine") {
  const auto model = handbook_quern();
  if (!model || !quern::backends::cuda::Emulator::is_present()) return;
  const Words words{"run", *model, "--raw", "-p", "The mill", "-n", "6", "--greedy"};
  const Outcome full = on_device("cuda", words, {{"QUERN_EMULATOR_MEMORY_BYTES", "1000000"}});
  CAPTURE(full.err);
  CHECK(full.status == 1);
  CHECK(full.err.find("memory") != std::string::npos);
  const Outcome lost = on_device("cuda", words, {{"QUERN_EMULATOR_LOSE_AFTER_LAUNCHES", "150"}});
  CAPTURE(lost.err);
  CHECK(lost.status == 1);
  CHECK(lost.err.find("the device was lost") != std::string::npos);
}
