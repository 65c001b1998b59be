#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "convert/gguf_tokenizer.h"
#include "formats/tokenizer_json.h"
#include "golden.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using text::TokenId;
using text::Tokenizer;

/// Calls `check` with every golden tokenizer, through tokenizer.json and GGUF.
template <class Check>
void each_tokenizer(Check check) {
  for (const std::string& folder : testing::golden_folders()) {
    const std::string json = testing::golden_path(folder, "tokenizer.json");
    const std::string gguf = testing::golden_path(folder, "ggml-vocab-" + folder + ".gguf");
    formats::TokenizerSpec spec;
    if (std::filesystem::exists(json)) {
      auto read = formats::read_tokenizer_json_text(testing::read_file(json), json);
      REQUIRE(read.ok());
      spec = std::move(read).value();
    } else {
      const auto file = formats::GgufFile::open(gguf);
      REQUIRE(file.ok());
      auto read = convert::read_gguf_tokenizer(*file);
      REQUIRE(read.ok());
      spec = std::move(read).value();
    }
    const auto image = text::build_tokenizer_image(spec);
    REQUIRE(image.ok());
    const auto tokenizer = Tokenizer::open(*image, folder);
    REQUIRE(tokenizer.ok());
    check(*tokenizer, folder);
  }
}

/// Up to 40 control tokens, evenly over the vocabulary.
std::vector<TokenId> some_special(const Tokenizer& tokenizer) {
  std::vector<TokenId> all, some;
  for (std::size_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    // The unknown token is what any text may become.
    if (tokenizer.is_special(id) && id != tokenizer.image().model_unk()) all.push_back(id);
  }
  for (std::size_t i = 0; i < all.size(); i += std::max<std::size_t>(1, all.size() / 40)) {
    some.push_back(all[i]);
  }
  return some;
}

bool has_special(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  return std::any_of(ids.begin(), ids.end(), [&](TokenId id) {
    return tokenizer.is_special(id) && id != tokenizer.image().model_unk();
  });
}

}  // namespace

TEST_CASE("text of a user never becomes a control token") {
  if (!testing::have_goldens()) return;
  each_tokenizer([](const Tokenizer& tokenizer, const std::string& folder) {
    for (const TokenId id : some_special(tokenizer)) {
      const std::string token(tokenizer.token_bytes(id));
      for (const std::string& user :
           {token, "a" + token, token + token, " " + token + "\n", token + "b"}) {
        text::EncodeOptions options;
        options.add_special = false;
        options.parse_special = false;
        const auto plain = tokenizer.encode(user, options);
        REQUIRE(plain.ok());
        CHECK_MESSAGE(!has_special(tokenizer, *plain), folder << ": " << user);
        // Between trusted text that could complete it, too.
        const std::string prompt = "x" + token.substr(0, 1) + user + token.substr(1);
        const std::size_t begin = 1 + std::min<std::size_t>(1, token.size());
        const Tokenizer::Span spans[] = {{0, begin, true},
                                         {begin, begin + user.size(), false},
                                         {begin + user.size(), prompt.size(), true}};
        const auto mixed = tokenizer.encode_spans(prompt, spans, false);
        REQUIRE(mixed.ok());
        CHECK_MESSAGE(!has_special(tokenizer, *mixed), folder << ": " << prompt);
      }
    }
  });
}

TEST_CASE("trusted spans parse control tokens and all else is one text") {
  if (!testing::have_goldens()) return;
  each_tokenizer([](const Tokenizer& tokenizer, const std::string& folder) {
    const auto special = some_special(tokenizer);
    const std::string token = special.empty() ? "" : std::string(tokenizer.token_bytes(special[0]));
    const std::string prompt = token + "Hello wor" + "ld and more" + token;
    const std::size_t middle = token.size() + 9;
    for (const bool trusted : {true, false}) {
      const Tokenizer::Span spans[] = {{0, middle, trusted}, {middle, prompt.size(), trusted}};
      text::EncodeOptions options;
      options.parse_special = trusted;
      const auto whole = tokenizer.encode(prompt, options);
      const auto parts = tokenizer.encode_spans(prompt, spans, true);
      REQUIRE(whole.ok());
      REQUIRE(parts.ok());
      CHECK_MESSAGE(*whole == *parts, folder);
    }
    const Tokenizer::Span outside[] = {{0, prompt.size() + 1, true}};
    const auto error = tokenizer.encode_spans(prompt, outside, true);
    REQUIRE(!error.ok());
    CHECK(error.error().code == ErrorCode::kInvalidArgument);
  });
}

TEST_CASE("spans keep their place where ill-formed bytes are replaced") {
  if (!testing::have_goldens()) return;
  each_tokenizer([](const Tokenizer& tokenizer, const std::string& folder) {
    const auto special = some_special(tokenizer);
    if (special.empty()) return;
    const std::string token(tokenizer.token_bytes(special[0]));
    const std::string prompt = "\xFF\xC3" + token + "\xE2\x82" + token;
    const std::size_t first = 2, second = first + token.size() + 2;
    const Tokenizer::Span spans[] = {{second, prompt.size(), true}, {0, second, false}};
    const auto ids = tokenizer.encode_spans(prompt, spans, false);
    REQUIRE(ids.ok());
    CHECK_MESSAGE(std::count(ids->begin(), ids->end(), special[0]) == 1, folder);
  });
}

}  // namespace quern
