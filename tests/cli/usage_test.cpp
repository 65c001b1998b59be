#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

const std::vector<std::string> kCommands{"run",    "chat",     "convert",  "quantize", "inspect",
                                         "verify", "tokenize", "template", "logits",   "bench",
                                         "plan",   "embed",    "rerank"};

}  // namespace

TEST_CASE("every command has help with an example") {
  for (const std::string& command : kCommands) {
    const Outcome outcome = quern::test::quern({command, "--help"});
    CAPTURE(command);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.find("Example:") != std::string::npos);
    CHECK(outcome.out.find("quern " + command) != std::string::npos);
    CHECK(outcome.err.empty());
  }
  CHECK(quern::test::quern({"eval", "perplexity", "--help"}).out.find("Protocol:") !=
        std::string::npos);
  const Outcome all = quern::test::quern({"--help"});
  CHECK(all.status == 0);
  for (const std::string& command : kCommands) CHECK(all.out.find(command) != std::string::npos);
  for (const char* later : {"serve", "pull"})
    CHECK(all.out.find("\n  " + std::string(later)) == std::string::npos);
  CHECK(quern::test::quern({"--version"}).out.find("quern 0.") == 0);
}

TEST_CASE("a wrong command line is status 2 with one sentence on stderr") {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {},
           {"nonsense"},
           {"run"},
           {"run", "model"},
           {"run", "model", "-p", "x", "--no-such-flag"},
           {"run", "model", "-p", "x", "-n", "-4"},
           {"run", "model", "-p", "x", "-n", "many"},
           {"run", "model", "-p", "x", "--top-p", "0"},
           {"run", "model", "-p", "x", "--top-p", "1.5"},
           {"run", "model", "-p", "x", "--temp", "-1"},
           {"run", "model", "-p", "x", "--kv", "f64"},
           {"run", "model", "-p", "x", "--threads", "-1"},
           {"run", "model", "-p", "x", "--seed", "18446744073709551616"},
           {"run", "model", "-p", "x", "--raw", "--system", "y"},
           {"convert", "model"},
           {"convert", "adapter", "--base", "m", "-o", "o", "--encoding", "q8"},
           {"convert", "adapter", "--base", "m", "-o", "o", "--adapter", "a"},
           {"logits", "model", "--ids", "1,x", "-o", "out.safetensors"},
           {"logits", "model", "--ids", "", "-o", "out.safetensors"},
           {"template", "--json", "x"},
           {"embed", "model"},
           {"embed", "model", "text", "--pooling", "sum"},
           {"rerank", "model", "document"},
           {"rerank", "model", "--query", "x"},
           {"quantize", "m", "-o", "o"},
           {"quantize", "m", "-o", "o", "--target-size", "0"},
           {"quantize", "m", "-o", "o", "--target-size", "1000", "--target-bpw", "4.5"},
           {"quantize", "m", "-o", "o", "--target-bpw", "4.5", "--encoding", "q4"},
           {"quantize", "m", "-o", "o", "--calibrate", "text"},
           {"quantize", "m", "-o", "o", "--encoding", "q4", "--report", "o"},
           {"quantize", "m", "-o", "o", "--encoding", "q4", "--resume", "--dry-run"},
           {"quantize", "m", "-o", "o", "--encoding", "q4", "--observe", "--calibrate", "t"},
           {"quantize", "m", "-o", "o", "--target-bpw", "4.5", "--observe"},
           {"quantize", "m", "-o", "o", "--target-bpw", "nan"},
           {"convert", "m", "-o", "o", "--observe"},
           {"convert", "m", "-o", "-"},
           {"logits", "m", "--ids", "1", "-o", "-"},
           {"run", "m", "-p", "x", "--temp", "nan"},
           {"run", "m", "-p", "x", "--length-penalty", "nan"},
           {"run", "m", "-p", "x", "--top-k", "99999999999"},
           {"embed", "-", "--jsonl", "-"},
           {"rerank", "-", "--query", "x", "--jsonl", "-"},
           {"template", "m", "--json", "x", "--now", "yesterday"},
           {"eval", "nonsense"},
           {"eval"},
           {"eval", "perplexity", "m"},
           {"eval", "choice", "m"},
           {"eval", "choice", "m", "--jsonl", "x", "--by", "luck"},
           {"eval", "likelihood", "m"},
           {"eval", "likelihood", "m", "a", "--jsonl", "x"},
           {"eval", "choice", "-", "--jsonl", "-"},
           {"bench", "m", "-r", "0"},
           {"run", "-", "-p", "-"},
           {"run", "model", "-f", "-", "-p", "-"},
           {"run", "model", "--prefix", "a", "-p", "b"},
           {"run", "model", "--suffix", "a", "--raw"},
           {"chat", "-"},
           {"tokenize", "-"},
           {"tokenize", "-", "--jsonl", "-"},
           {"template", "-", "--json", "-"},
           {"logits", "-", "--ids", "-", "-o", "out.safetensors"},
           {"eval", "perplexity", "-", "--text", "-"},
       }) {
    const Outcome outcome = quern::test::quern(words);
    std::string line;
    for (const std::string& word : words) line += word + " ";
    CAPTURE(line);
    CAPTURE(outcome.err);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find("quern: ") == 0);
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  }
}

TEST_CASE("an input that is no model is status 1 with one sentence on stderr") {
  const quern::testing::TempDir folder;
  const std::string pickle = folder.write("model.bin", std::string("\x80\x02}q\x01.", 7));
  const std::string text = folder.write("text.gguf", "this is no model");
  const std::string empty = folder.write("empty.quern", "");
  const std::string truncated = folder.write("cut.gguf", std::string("GGUF\x03\0\0\0\xff\xff", 10));
  for (const std::string& path :
       {std::string("/no/such/file"), pickle, text, empty, truncated, folder.path()}) {
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {"run", path, "-p", "x"},
             {"chat", path},
             {"inspect", path},
             {"verify", path},
             {"tokenize", path},
             {"bench", path},
             {"plan", path},
             {"convert", path, "-o", folder.file("out.quern")},
             {"logits", path, "--ids", "1", "-o", folder.file("out.safetensors")},
             {"template", path, "--json", text},
             {"eval", "perplexity", path, "--text", text},
         }) {
      const Outcome outcome = quern::test::quern(words);
      CAPTURE(words[0]);
      CAPTURE(path);
      CAPTURE(outcome.err);
      CHECK(outcome.status == 1);
      CHECK(outcome.out.empty());
      CHECK(outcome.err.find("quern: ") == 0);
      CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
    }
  }
  CHECK(folder.entries() == 4);  // No half file was left.
}

TEST_CASE("a command that there is not is named, with the help that lists the others") {
  CHECK(quern::test::quern({"nonsense"}).err ==
        "quern: there is no command 'quern nonsense'; see quern --help\n");
  CHECK(quern::test::quern({"eval", "nonsense", "x"}).err ==
        "quern: there is no command 'quern eval nonsense'; see quern eval --help\n");
  CHECK(quern::test::quern({}).err ==
        "quern: a command is missing behind 'quern'; see quern --help\n");
  CHECK(quern::test::quern({"run", "m", "-p", "x", "-n", "1.5"}).err ==
        "quern: a number of another kind or size is expected: --max-tokens = 1.5; see quern run "
        "--help\n");
}

TEST_CASE("a vocabulary without a model is refused with its error alone") {
  const auto vocabulary = reference("tokenizers/gpt-2/ggml-vocab-gpt-2.gguf");
  if (!vocabulary) return;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"run", *vocabulary, "-p", "x"},
                                             {"chat", *vocabulary},
                                             {"bench", *vocabulary},
                                             {"plan", *vocabulary}}) {
    const Outcome outcome = quern::test::quern(words, "x\n");
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find("a vocabulary alone") != std::string::npos);
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  }
}

TEST_CASE("a MODEL from stdin that is none is refused under that name") {
  for (const char* command : {"inspect", "verify", "plan", "bench"}) {
    const Outcome outcome = quern::test::quern({command, "-"}, "this is no model");
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("quern: stdin") == 0);
  }
  CHECK(quern::test::quern({"inspect", "-"}).status == 1);
}

TEST_CASE("an instruction set that the machine lacks is an error, not another one") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome outcome =
      quern::test::quern({"run", *model, "-p", "x", "-n", "1"}, {}, {{"QUERN_ISA", "nonsense"}});
  CHECK(outcome.status == 1);
  CHECK(outcome.err.find("nonsense") != std::string::npos);
  const Outcome scalar = quern::test::quern({"run", *model, "-p", "x", "-n", "1", "--json"}, {},
                                            {{"QUERN_ISA", "scalar"}});
  REQUIRE(scalar.status == 0);
  CHECK(Json::parse(scalar.out)["isa"] == "scalar");
}

TEST_CASE("QUERN_LOG writes its topics to stderr") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome quiet = quern::test::quern({"plan", *model});
  CHECK(quiet.err.empty());
  const Outcome load = quern::test::quern({"plan", *model}, {}, {{"QUERN_LOG", "load"}});
  CHECK(load.err.find("[load]") != std::string::npos);
  CHECK(load.err.find("[time]") == std::string::npos);
  const auto source = handbook();
  if (!source) return;
  const Outcome foreign = quern::test::quern({"plan", *source}, {}, {{"QUERN_LOG", "time"}});
  CHECK(foreign.err.find("quern: [time] converting into memory took ") == 0);
  CHECK(foreign.err.find("quern convert does it once") != std::string::npos);
  const Outcome dispatch = quern::test::quern({"plan", *model, "--threads", "2"}, {},
                                              {{"QUERN_LOG", "dispatch"}, {"QUERN_ISA", "scalar"}});
  CHECK(dispatch.err ==
        "quern: [dispatch] kernels: scalar (forced by QUERN_ISA)\n"
        "quern: [dispatch] the model runs on scalar with 2 threads\n");
}
