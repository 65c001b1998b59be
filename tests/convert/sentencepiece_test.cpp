// Checkpoints with a SentencePiece model and no tokenizer.json: ids and texts of every class
// against transformers. The models and cases are those that sentencepiece/make.py made.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "convert/huggingface_tokenizer.h"
#include "fixtures.h"
#include "formats/json.h"
#include "formats/sentencepiece_model.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/tokenizer.h"

namespace quern::convert::test {
namespace {

namespace fs = std::filesystem;
using formats::Json;

const fs::path kFixtures = fs::path(QUERN_SOURCE_DIR) / "tests/convert/sentencepiece";

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

Json read_cases(const std::string& name) {
  const auto json = formats::read_json_file((kFixtures / (name + ".json")).string());
  REQUIRE_MESSAGE(json.ok(), json.error().describe());
  return *json;
}

/// The directory that a case describes. Its config.json says nothing.
formats::CheckpointDir lay_out(const Json& about, const fs::path& folder) {
  for (const auto& item : about["models"].items()) {
    fs::copy_file(kFixtures / item.value.string(), folder / item.key);
  }
  for (const auto& item : about["files"].items()) {
    write_text(folder / item.key, formats::dump_json(item.value));
  }
  if (!about["files"].contains("config.json")) write_text(folder / "config.json", "{}");
  auto directory = formats::CheckpointDir::open(folder.string());
  REQUIRE_MESSAGE(directory.ok(), directory.error().describe());
  return std::move(directory).value();
}

std::vector<text::TokenId> ids_of(const Json& list) {
  std::vector<text::TokenId> ids;
  for (const Json& id : list) ids.push_back(static_cast<text::TokenId>(id.integer()));
  return ids;
}

void check_case(const text::Tokenizer& tokenizer, const std::string& text, const Json& one,
                const std::string& name) {
  const auto wanted = ids_of(one[std::size_t{0}]);
  const auto ids = tokenizer.encode(text);
  REQUIRE_MESSAGE(ids.ok(), ids.error().describe());
  CHECK_MESSAGE(*ids == wanted, name << ": ids of " << formats::dump_json(text) << "\n  want "
                                     << formats::dump_json(Json(wanted)) << "\n  got  "
                                     << formats::dump_json(Json(*ids)));
  const std::string full = tokenizer.decode(wanted, false);
  // Marian's class is Python's, which puts a space behind every control token that it shows.
  CHECK_MESSAGE(
      (name == "marian" || full == one[1].string()),
      name << ": decoded " << formats::dump_json(full) << " want " << formats::dump_json(one[1]));
  const Json& skipped = one.size() > 2 ? one[2] : one[1];
  const std::string plain = tokenizer.decode(wanted, true);
  CHECK_MESSAGE(plain == skipped.string(), name << ": decoded without control tokens "
                                                << formats::dump_json(plain) << " want "
                                                << formats::dump_json(skipped));
}

void check_class(const std::string& name) {
  const Json about = read_cases(name);
  const TempFolder temp;
  const auto spec = read_huggingface_tokenizer(lay_out(about, temp.path()));
  REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
  const auto image = text::build_tokenizer_image(*spec);
  REQUIRE_MESSAGE(image.ok(), image.error().describe());
  const auto tokenizer = text::Tokenizer::open(*image, name);
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().describe());
  const std::vector<text::TokenId> ids = {tokenizer->bos(), tokenizer->eos(), tokenizer->unk(),
                                          tokenizer->pad(), tokenizer->mask()};
  CHECK_MESSAGE(ids == ids_of(about["ids"]), name);
  const Json texts = read_cases("texts");
  REQUIRE(texts.size() >= 45);
  REQUIRE(about["cases"].size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Json& one = about["cases"][i];
    if (!one.is_null()) check_case(*tokenizer, texts[i].string(), one, name);
  }
}

Error refused(const Json& about) {
  const TempFolder temp;
  const auto spec = read_huggingface_tokenizer(lay_out(about, temp.path()));
  REQUIRE(!spec.ok());
  return spec.error();
}

}  // namespace

TEST_CASE("every class of tokenizer reads its SentencePiece model as transformers does") {
  for (const char* name : {"llama", "llama_old", "gemma", "t5", "xlm_roberta", "mbart", "mbart50",
                           "pegasus", "camembert", "marian"}) {
    check_class(name);
  }
}

TEST_CASE("Marian never makes pieces of the target alone, and unknown ones are unknown") {
  const Json about = read_cases("marian");
  const TempFolder temp;
  const auto spec = read_huggingface_tokenizer(lay_out(about, temp.path()));
  REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
  const auto source = formats::SentencePieceModel::open((kFixtures / "source.model").string());
  REQUIRE(source.ok());
  const auto image = text::build_tokenizer_image(*spec);
  REQUIRE_MESSAGE(image.ok(), image.error().describe());
  const auto tokenizer = text::Tokenizer::open(*image, "marian");
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().describe());
  const std::size_t n_rows = about["files"]["vocab.json"].size();
  std::size_t foreign = 0, unnumbered = 0;
  for (std::size_t id = 0; id < spec->tokens.size(); ++id) {
    const formats::TokenRow& row = spec->tokens[id];
    const bool in_source =
        std::any_of(source->pieces.begin(), source->pieces.end(),
                    [&row](const auto& piece) { return piece.text == row.text; });
    if (!in_source && row.type == formats::TokenType::kNormal) {
      const auto ids = tokenizer->encode(row.text);
      REQUIRE(ids.ok());
      CHECK_MESSAGE(std::count(ids->begin(), ids->end(), static_cast<text::TokenId>(id)) == 0,
                    row.text);
      ++foreign;
    }
    if (id >= n_rows) CHECK(row.type == formats::TokenType::kUnused);
    unnumbered += id >= n_rows ? 1 : 0;
  }
  CHECK(foreign > 3);
  CHECK(unnumbered > 10);
}

TEST_CASE("a class without a tokenizer_config.json follows from the type of the model") {
  Json about = read_cases("t5");
  about["files"] = Json::object();
  about["files"]["config.json"] = Json::object();
  about["files"]["config.json"]["model_type"] = "mt5";
  const TempFolder temp;
  const auto spec = read_huggingface_tokenizer(lay_out(about, temp.path()));
  REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
  CHECK(spec->ids.eos == 1);
  CHECK(spec->tokens.back().text == "<extra_id_0>");
  about = read_cases("t5");
  about["files"]["tokenizer_config.json"]["extra_ids"] = 0;
  const TempFolder other;
  const auto bare = read_huggingface_tokenizer(lay_out(about, other.path()));
  REQUIRE_MESSAGE(bare.ok(), bare.error().describe());
  CHECK(bare->tokens.size() == spec->tokens.size() - 100);
}

TEST_CASE("what a SentencePiece directory says wrongly is refused by name") {
  Json about = read_cases("t5");
  Json& config = about["files"]["tokenizer_config.json"];
  config["tokenizer_class"] = "AlbertTokenizer";
  Error error = refused(about);
  CHECK(error.code == ErrorCode::kUnsupported);
  CHECK(error.field == "tokenizer_class");
  CHECK(error.found.find("AlbertTokenizer") != std::string::npos);
  config["tokenizer_class"] = "LlamaTokenizer";
  CHECK(refused(about).code == ErrorCode::kMismatch);  // A unigram model.
  config["tokenizer_class"] = "T5Tokenizer";
  config["extra_ids"] = -1;
  CHECK(refused(about).code == ErrorCode::kLimit);
  config["extra_ids"] = 100;
  config["added_tokens_decoder"]["7"] = "</s>";  // It is 1.
  CHECK(refused(about).code == ErrorCode::kMismatch);
  about = read_cases("marian");
  about["files"]["tokenizer_config.json"]["separate_vocabs"] = true;
  CHECK(refused(about).code == ErrorCode::kUnsupported);
  about["models"]["source.spm"] = "llama.model";
  about["files"]["tokenizer_config.json"]["separate_vocabs"] = false;
  CHECK(refused(about).field == "trainer_spec.model_type");
  about = read_cases("mbart");
  about["files"]["tokenizer_config.json"]["src_lang"] = "xx_XX";
  error = refused(about);
  CHECK(error.code == ErrorCode::kOutOfRange);
  CHECK(error.field == "src_lang");
}

}  // namespace quern::convert::test
