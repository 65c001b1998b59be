// Encoders through GGUF: what llama.cpp has under the names bert, nomic-bert and modern-bert.
#include <doctest/doctest.h>

#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "quern/encoder.h"
#include "quern/model.h"

namespace quern::convert::test {
namespace {

struct Outputs {
  std::vector<float> hidden, logits, pooler;
  bool operator==(const Outputs&) const = default;
};

Outputs outputs_of(const std::string& path) {
  const Model model = must(open_any(path));
  Encoder encoder = must(Encoder::create(model));
  const EncoderInput inputs[] = {{{2, 17, 200, 5, 44, 99, 101, 7, 23, 180, 3}, {}},
                                 {{2, 9, 3}, {}}};
  Outputs all;
  const auto append = [](std::vector<float>& to, std::span<const float> from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  REQUIRE(encoder
              .run(inputs,
                   [&](std::size_t, const EncoderOutput& output) -> Status {
                     append(all.hidden, output.hidden);
                     append(all.logits, output.logits);
                     append(all.pooler, output.pooled);
                     return {};
                   })
              .ok());
  return all;
}

TEST_CASE("encoders that llama.cpp knows come back from GGUF with the same outputs") {
  constexpr std::pair<const char*, const char*> kKnown[] = {{"bert", "bert"},
                                                            {"bert_reranker", "bert"},
                                                            {"roberta", "bert"},
                                                            {"xlm_roberta", "bert"},
                                                            {"xlm_roberta_reranker", "bert"},
                                                            {"distilbert", "bert"},
                                                            {"nomic_bert", "nomic-bert"},
                                                            {"modernbert", "modern-bert"},
                                                            {"modernbert_reranker", "modern-bert"}};
  for (const auto& known : kKnown) {
    CAPTURE(known.first);
    const auto folder = golden(known.first);
    if (!folder) return;
    const TempFolder temp;
    must(convert(*folder, temp.file("a.quern"), plain_options()));
    must(convert(temp.file("a.quern"), temp.file("a.gguf"), plain_options()));
    must(convert(temp.file("a.gguf"), temp.file("b.quern"), plain_options()));
    const Outputs first = outputs_of(temp.file("a.quern"));
    CHECK(!first.hidden.empty());
    CHECK(outputs_of(temp.file("b.quern")) == first);
    const auto file = must(formats::GgufFile::open(temp.file("a.gguf")));
    CHECK(must(file.config().string("general.architecture")) == known.second);
    CHECK(must(file.config().boolean(std::string(known.second) + ".attention.causal")) == false);
    const bool ranks = !first.logits.empty();
    CHECK(must(file.config().integer_or(std::string(known.second) + ".pooling_type", 0)) ==
          (ranks ? 4 : 0));
    CHECK((file.find_tensor("cls.output.weight") != nullptr) == ranks);
    // From one GGUF file to another nothing changes.
    must(convert(temp.file("b.quern"), temp.file("b.gguf"), plain_options()));
    const auto again = must(formats::GgufFile::open(temp.file("b.gguf")));
    CHECK(again.tensors().size() == file.tensors().size());
  }
}

TEST_CASE("the encoder of T5 alone comes back from GGUF") {
  const auto folder = golden("t5");
  if (!folder) return;
  const TempFolder source, temp;
  std::string config = read_bytes(*folder + "/config.json");
  const std::string whole = "T5ForConditionalGeneration";
  const std::size_t at = config.find(whole);
  REQUIRE(at != std::string::npos);
  write_bytes(source.file("config.json"), config.replace(at, whole.size(), "T5EncoderModel"));
  std::filesystem::copy_file(*folder + "/model.safetensors", source.file("model.safetensors"));
  must(convert(source.path(), temp.file("a.gguf"), plain_options()));
  CHECK(outputs_of(temp.file("a.gguf")) == outputs_of(source.path()));
  const auto file = must(formats::GgufFile::open(temp.file("a.gguf")));
  CHECK(must(file.config().string("general.architecture")) == "t5encoder");
}

TEST_CASE("RoBERTa's positions lose in GGUF the rows that no token has") {
  const auto folder = golden("roberta");
  if (!folder) return;
  const TempFolder temp;
  must(convert(*folder, temp.file("a.gguf"), plain_options()));
  const auto file = must(formats::GgufFile::open(temp.file("a.gguf")));
  const auto length = must(file.config().integer("bert.context_length"));
  const auto* positions = file.find_tensor("position_embd.weight");
  REQUIRE(positions != nullptr);
  CHECK(positions->ne[1] == static_cast<std::uint64_t>(length));
}

/// A GGUF file with another `pooling_type`; −1: without one.
void write_pooling(const std::string& from, const std::string& to, const std::string& key,
                   int pooling) {
  const auto file = must(formats::GgufFile::open(from));
  auto writer = must(formats::GgufWriter::create(to));
  for (const auto& entry : file.entries())
    if (entry.key != key) REQUIRE(writer.add_entry(entry).ok());
  if (pooling >= 0) REQUIRE(writer.add_unsigned(key, static_cast<std::uint32_t>(pooling)).ok());
  for (const auto& tensor : file.tensors()) {
    const std::vector<std::uint64_t> ne(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims);
    REQUIRE(writer.declare_tensor(tensor.name, ne, *tensor.type).ok());
  }
  REQUIRE(writer.begin().ok());
  for (const auto& tensor : file.tensors()) REQUIRE(writer.write(tensor.data).ok());
  REQUIRE(writer.finish().ok());
}

TEST_CASE("a reranker's GGUF need not say that it ranks, and a Nomic BERT may not") {
  const auto reranker = golden("xlm_roberta_reranker"), nomic = golden("nomic_bert");
  if (!reranker || !nomic) return;
  const TempFolder temp;
  must(convert(*reranker, temp.file("a.gguf"), plain_options()));
  write_pooling(temp.file("a.gguf"), temp.file("b.gguf"), "bert.pooling_type", -1);
  const Outputs first = outputs_of(temp.file("a.gguf"));
  CHECK(!first.logits.empty());
  CHECK(outputs_of(temp.file("b.gguf")) == first);
  must(convert(*nomic, temp.file("n.gguf"), plain_options()));
  write_pooling(temp.file("n.gguf"), temp.file("r.gguf"), "nomic-bert.pooling_type", 4);
  const auto report = convert(temp.file("r.gguf"), temp.file("r.quern"), plain_options());
  REQUIRE(!report.ok());
  CHECK(report.error().code == ErrorCode::kUnsupported);
}

TEST_CASE("heads and encoders that llama.cpp does not have are refused by name") {
  constexpr std::pair<const char*, const char*> kRefused[] = {{"bert_mlm", "head.masked_lm"},
                                                              {"roberta_mlm", "head.masked_lm"},
                                                              {"modernbert_mlm", "head.masked_lm"},
                                                              {"distilbert_cls", "head."},
                                                              {"electra", "electra"},
                                                              {"mpnet", "mpnet"},
                                                              {"deberta_v2", "deberta_v2"}};
  for (const auto& refused : kRefused) {
    CAPTURE(refused.first);
    const auto folder = golden(refused.first);
    if (!folder) return;
    const TempFolder temp;
    const auto report = convert(*folder, temp.file("a.gguf"), plain_options());
    REQUIRE(!report.ok());
    CHECK(report.error().code == ErrorCode::kUnsupported);
    CHECK(report.error().describe().find(refused.second) != std::string::npos);
  }
}

}  // namespace
}  // namespace quern::convert::test
