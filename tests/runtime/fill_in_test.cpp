// Prompts of fill-in-the-middle: over published vocabularies, and over one of SentencePiece's form.
#include "quern/fill_in.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "convert/convert.h"
#include "support.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::test;

namespace {

std::optional<std::string> vocabulary(const std::string& below) {
  const auto path = std::filesystem::path(QUERN_GOLDENS_DIR) / "tokenizers" / below;
  if (std::filesystem::exists(path)) return path.string();
  MESSAGE("the reference data are absent: " << path.string());
  CHECK(std::getenv("CI") == nullptr);
  return std::nullopt;
}

Model open_vocabulary(const std::string& path) {
  ModelOptions options;
  options.vocabulary_only = true;
  auto model = convert::open_any(path, options);
  if (!model.ok()) FAIL(model.error().describe());
  return std::move(*model);
}

FillInPrompt prompt_of(const Model& model, std::string_view prefix, std::string_view suffix) {
  auto prompt = fill_in_prompt(model, prefix, suffix);
  if (!prompt.ok()) FAIL(prompt.error().describe());
  return std::move(*prompt);
}

std::vector<TokenId> plain(const Model& model, std::string_view text) {
  auto ids = model.encode(text, {.add_special = false, .parse_special = false});
  REQUIRE(ids.ok());
  return std::move(*ids);
}

/// The one id that a control token's text stands for.
TokenId control(const Model& model, std::string_view text) {
  const auto ids = model.encode(text, {.add_special = false, .parse_special = true});
  REQUIRE(ids.ok());
  REQUIRE(ids->size() == 1);
  return ids->front();
}

void append(std::vector<TokenId>& to, const std::vector<TokenId>& ids) {
  to.insert(to.end(), ids.begin(), ids.end());
}

/// small-llama2's tokenizer with three more control tokens, `names` in the order of their ids
/// (from 2000 on).
std::string with_tokens(const std::string& tokenizer_json, const std::vector<std::string>& names) {
  std::ifstream in(tokenizer_json, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  std::string entries;
  TokenId id = 2000;
  for (const std::string& name : names) {
    entries += R"({"id": )" + std::to_string(id++) + R"(, "content": ")" + name +
               R"(", "single_word": false, "lstrip": false, "rstrip": false, )"
               R"("normalized": false, "special": true},)";
  }
  const std::string_view head = "\"added_tokens\":[";
  const std::size_t at = text.find(head);
  REQUIRE(at != std::string::npos);
  return text.insert(at + head.size(), entries);
}

}  // namespace

TEST_CASE("published code vocabularies give prefix, suffix and middle behind their tokens") {
  struct Row {
    const char *file, *prefix, *suffix, *middle;
    bool bos;
  };
  for (const Row& row : {Row{"starcoder/ggml-vocab-starcoder.gguf", "<fim_prefix>", "<fim_suffix>",
                             "<fim_middle>", false},
                         Row{"deepseek-coder/ggml-vocab-deepseek-coder.gguf", "<｜fim▁begin｜>",
                             "<｜fim▁hole｜>", "<｜fim▁end｜>", true}}) {
    CAPTURE(row.file);
    const auto path = vocabulary(row.file);
    if (!path) return;
    const Model model = open_vocabulary(*path);
    const std::string before = "def add(a, b):\n    # a sum\n    ";
    const std::string behind = "\n    return total\n";
    std::vector<TokenId> expected;
    if (row.bos) expected.push_back(model.bos());
    expected.push_back(control(model, row.prefix));
    append(expected, plain(model, before));
    expected.push_back(control(model, row.suffix));
    append(expected, plain(model, behind));
    const TokenId middle = control(model, row.middle);
    expected.push_back(middle);
    const FillInPrompt prompt = prompt_of(model, before, behind);
    CHECK(prompt.ids == expected);
    // What the texts themselves say is text.
    const std::string named = "# " + std::string(row.middle) + row.suffix + " #";
    const FillInPrompt hostile = prompt_of(model, named, named);
    CHECK(std::count(hostile.ids.begin(), hostile.ids.end(), middle) == 1);
    CHECK(std::count(hostile.ids.begin(), hostile.ids.end(), control(model, row.suffix)) == 1);
    const auto all = model.decode(hostile.ids, false);
    REQUIRE(all.ok());
    CHECK(all->find(named) != std::string::npos);
    CHECK(std::binary_search(prompt.end_tokens.begin(), prompt.end_tokens.end(), middle));
  }
}

TEST_CASE("an empty prefix or suffix still has its token") {
  const auto path = vocabulary("starcoder/ggml-vocab-starcoder.gguf");
  if (!path) return;
  const Model model = open_vocabulary(*path);
  CHECK(prompt_of(model, "", "").ids == std::vector<TokenId>{control(model, "<fim_prefix>"),
                                                             control(model, "<fim_suffix>"),
                                                             control(model, "<fim_middle>")});
}

TEST_CASE("behind a gap a SentencePiece vocabulary gets no space, and each family has its order") {
  const auto path = vocabulary("small-llama2/tokenizer.json");
  if (!path) return;
  const quern::testing::TempDir folder;
  const Model code_llama = open_vocabulary(
      folder.write("tokenizer.json", with_tokens(*path, {"▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"})));
  constexpr TokenId kBos = 1;  // As the tokenizer's template has it.
  const std::string before = "int x", behind = "return x;";
  const FillInPrompt prompt = prompt_of(code_llama, before, behind);
  const auto place = std::find(prompt.ids.begin(), prompt.ids.end(), 2001);
  REQUIRE(place != prompt.ids.end());
  REQUIRE(prompt.ids.back() == 2002);
  CHECK(std::vector<TokenId>(prompt.ids.begin(), prompt.ids.begin() + 2) ==
        std::vector<TokenId>{kBos, 2000});
  CHECK(std::vector<TokenId>(prompt.ids.begin() + 2, place) == plain(code_llama, before));
  const std::vector<TokenId> inside(place + 1, prompt.ids.end() - 1);
  CHECK(inside != plain(code_llama, behind));  // That one begins with a space.
  // After "int x" nothing but the suffix itself: decoded together they are the text.
  std::vector<TokenId> whole(prompt.ids.begin() + 2, place);
  append(whole, inside);
  CHECK(code_llama.decode(whole).value() == before + behind);
  CHECK(std::binary_search(prompt.end_tokens.begin(), prompt.end_tokens.end(), 2003));

  const Model codestral =
      open_vocabulary(folder.write("tokenizer.json", with_tokens(*path, {"[PREFIX]", "[SUFFIX]"})));
  std::vector<TokenId> expected{kBos, 2001};
  append(expected, inside);
  expected.push_back(2000);
  append(expected, plain(codestral, before));
  CHECK(prompt_of(codestral, before, behind).ids == expected);
}

TEST_CASE("a model that was not made for it says so in one sentence") {
  const auto path = vocabulary("qwen2/tokenizer.json");
  if (!path) return;
  const auto refused = fill_in_prompt(open_vocabulary(*path), "a", "b");
  CHECK(code_of(refused) == ErrorCode::kUnsupported);
  CHECK(refused.error().describe().find("fill-in-the-middle") != std::string::npos);
  CHECK(refused.error().file == *path);
}
