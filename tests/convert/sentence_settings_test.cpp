// What the converter reads beside config.json for encoders: sentence-transformers' modules and the
// tokenizer's template for pairs; and encoders through GGUF.
#include <doctest/doctest.h>

#include "fixtures.h"
#include "quern/encoder.h"

using namespace quern;
using namespace quern::convert::test;

namespace {

/// A folder with the golden `name` and further files.
struct Checkpoint {
  TempFolder folder;
  bool there = false;

  explicit Checkpoint(const char* name) {
    const auto source = golden(name);
    if (!source) return;
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(*source + "/" + file, folder.file(file));
    there = true;
  }
  void modules(const std::string& types, const std::string& pooling) const {
    std::string list;
    for (std::size_t at = 0; at < types.size();) {
      const std::size_t end = std::min(types.find(' ', at), types.size());
      list += (list.empty() ? "" : ",") + std::string(R"({"path": "1_P", "type": "st.models.)") +
              types.substr(at, end - at) + "\"}";
      at = end + 1;
    }
    write_bytes(folder.file("modules.json"), "[" + list + "]");
    std::filesystem::create_directories(folder.file("1_P"));
    write_bytes(folder.file("1_P/config.json"), pooling);
  }
  Result<Model> open() const { return convert::open_any(folder.path()); }
};

constexpr const char* kCls =
    R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})";

constexpr const char* kWords =
    R"({"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"?": 0, "ask": 1, ":": 2, "the": 3, "mill": 4}}})";

}  // namespace

TEST_CASE("sentence-transformers' modules decide pooling, length and limits") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  const auto plain = checkpoint.open();
  REQUIRE(plain.ok());
  CHECK(plain->default_embedding().pooling == Pooling::kMean);
  CHECK(plain->default_embedding().normalize);
  CHECK(plain->max_text_tokens() == 64);

  checkpoint.modules("Transformer Pooling", kCls);
  write_bytes(checkpoint.folder.file("sentence_bert_config.json"), R"({"max_seq_length": 32})");
  const auto first = checkpoint.open();
  REQUIRE(first.ok());
  CHECK(first->default_embedding().pooling == Pooling::kFirst);
  CHECK_FALSE(first->default_embedding().normalize);
  CHECK(first->max_text_tokens() == 32);

  checkpoint.modules("Transformer Pooling Normalize", R"({"pooling_mode_lasttoken": true})");
  const auto last = checkpoint.open();
  REQUIRE(last.ok());
  CHECK(last->default_embedding().pooling == Pooling::kLast);
  CHECK(last->default_embedding().normalize);
}

TEST_CASE("both spellings of the pooling say the same, and none is the mean") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  const std::pair<const char*, Pooling> cases[] = {
      {R"({"pooling_mode": "max"})", Pooling::kMax},
      {R"({"pooling_mode": ["lasttoken"]})", Pooling::kLast},
      {R"({"pooling_mode": "cls", "pooling_mode_mean_tokens": true})", Pooling::kFirst},
      {R"({"pooling_mode_cls_token": false})", Pooling::kMean},
      {"{}", Pooling::kMean},
  };
  for (const auto& row : cases) {
    CAPTURE(row.first);
    checkpoint.modules("Transformer Pooling Dropout", row.first);
    const auto model = checkpoint.open();
    REQUIRE_MESSAGE(model.ok(), model.error().describe());
    CHECK(model->default_embedding().pooling == row.second);
  }
}

TEST_CASE("the default prompt stands before every text that is embedded") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  write_bytes(checkpoint.folder.file("tokenizer.json"), kWords);
  const auto plain = checkpoint.open();
  REQUIRE(plain.ok());
  checkpoint.modules("Transformer Pooling", R"({"pooling_mode": "mean"})");
  const std::string settings = checkpoint.folder.file("config_sentence_transformers.json");
  write_bytes(settings, R"({"prompts": {"q": "ask: ", "d": ""}, "default_prompt_name": "q"})");
  const auto prompted = checkpoint.open();
  REQUIRE_MESSAGE(prompted.ok(), prompted.error().describe());
  const auto want = plain->encode_text("ask: the mill"), got = prompted->encode_text("the mill");
  REQUIRE(want.ok());
  REQUIRE(got.ok());
  CHECK(got->ids == want->ids);
  CHECK(got->ids != plain->encode_text("the mill")->ids);

  write_bytes(settings, R"({"prompts": {"q": "ask: "}, "default_prompt_name": null})");
  const auto unprompted = checkpoint.open();
  REQUIRE(unprompted.ok());
  CHECK(unprompted->encode_text("the mill")->ids == plain->encode_text("the mill")->ids);

  write_bytes(settings, R"({"prompts": {"q": "ask: "}, "default_prompt_name": "x"})");
  CHECK_FALSE(checkpoint.open().ok());
  write_bytes(settings, R"({"prompts": {"q": "ask: "}, "default_prompt_name": "q"})");
  checkpoint.modules("Transformer Pooling", R"({"pooling_mode": "mean", "include_prompt": false})");
  const auto without = checkpoint.open();
  REQUIRE_FALSE(without.ok());
  CHECK(without.error().code == ErrorCode::kUnsupported);
}

TEST_CASE("small letters are refused where the tokenizer keeps capitals") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  checkpoint.modules("Transformer Pooling", R"({"pooling_mode": "mean"})");
  write_bytes(checkpoint.folder.file("sentence_bert_config.json"), R"({"do_lower_case": true})");
  const auto model = checkpoint.open();
  REQUIRE_FALSE(model.ok());
  CHECK(model.error().field == "do_lower_case");
}

TEST_CASE("both spellings of joined poolings say the same, and unknown ones are refused") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  for (const char* pooling :
       {R"({"pooling_mode": ["cls", "weightedmean"]})",
        R"({"pooling_mode_weightedmean_tokens": true, "pooling_mode_cls_token": true})"}) {
    CAPTURE(pooling);
    checkpoint.modules("Transformer Pooling", pooling);
    const auto model = checkpoint.open();
    REQUIRE_MESSAGE(model.ok(), model.error().describe());
    CHECK(model->default_embedding().pooling == Pooling::kFirst);
    CHECK(model->default_embedding().joined == std::vector{Pooling::kWeightedMean});
  }
  for (const char* pooling :
       {R"({"pooling_mode_median_tokens": true})", "[]", R"({"pooling_mode": []})",
        R"({"pooling_mode": ["cls", "median"]})", R"({"pooling_mode": 3})",
        R"({"pooling_mode": "median"})", R"({"pooling_mode_cls_token": 1})"}) {
    CAPTURE(pooling);
    checkpoint.modules("Transformer Pooling", pooling);
    CHECK_FALSE(checkpoint.open().ok());
  }
}

TEST_CASE("rows other than the last hidden states are refused by name") {
  const Checkpoint checkpoint("bert");
  if (!checkpoint.there) return;
  checkpoint.modules("Transformer Pooling", kCls);
  const std::string settings = checkpoint.folder.file("sentence_bert_config.json");
  write_bytes(settings, R"({"transformer_task": "feature-extraction",
      "modality_config": {"text": {"method": "forward",
                                   "method_output_name": "last_hidden_state"}}})");
  CHECK(checkpoint.open().ok());
  write_bytes(settings,
              R"({"modality_config": {"text": {"method_output_name": "pooler_output"}}})");
  const auto model = checkpoint.open();
  REQUIRE_FALSE(model.ok());
  CHECK(model.error().field == "modality_config.text.method_output_name");
}

TEST_CASE("encoders that GGUF knows come back from it with the same bits") {
  for (const char* name : {"bert", "nomic_bert"}) {
    CAPTURE(name);
    const auto source = golden(name);
    if (!source) return;
    const TempFolder folder;
    REQUIRE(convert::convert(*source, folder.file("model.gguf")).ok());
    const auto before = convert::open_any(*source);
    const auto after = convert::open_any(folder.file("model.gguf"));
    REQUIRE(before.ok());
    REQUIRE(after.ok());
    const EncoderInput input{{5, 6, 7, 200, 9}, {0, 0, 1, 1, 1}};
    std::vector<std::vector<float>> embeddings;
    for (const Model& model : {*before, *after}) {
      auto encoder = Encoder::create(model);
      REQUIRE(encoder.ok());
      auto embedding = encoder->embed({&input, 1}, {});
      REQUIRE(embedding.ok());
      embeddings.push_back(*embedding);
    }
    CHECK(embeddings[0] == embeddings[1]);
  }
}

TEST_CASE("encoders that GGUF has no words for are refused there") {
  for (const char* name : {"bert_mlm", "electra", "deberta_v2"}) {
    const auto source = golden(name);
    if (!source) return;
    const TempFolder folder;
    const auto report = convert::convert(*source, folder.file("model.gguf"));
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().code == ErrorCode::kUnsupported);
    CHECK(folder.names().empty());
  }
}
