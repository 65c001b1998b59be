#include <doctest/doctest.h>

#include <filesystem>

#include "convert/gguf_tokenizer.h"
#include "formats/tokenizer_json.h"
#include "golden.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using testing::GoldenCase;

/// Encodes and decodes every case, then decodes it as a stream.
void check_cases(const text::Tokenizer& tokenizer, const std::string& folder) {
  std::size_t wrong = 0;
  for (const GoldenCase& one : testing::read_cases(folder)) {
    text::EncodeOptions options;
    options.add_special = one.add_special;
    options.parse_special = one.parse_special;
    const auto ids = tokenizer.encode(one.text, options);
    REQUIRE_MESSAGE(ids.ok(), ids.error().describe());
    bool right = *ids == one.ids;
    CHECK_MESSAGE(right, folder << ": ids of " << formats::dump_json(one.text) << "\n  want "
                                << formats::dump_json(one.ids) << "\n  got  "
                                << formats::dump_json(*ids));
    if (one.has_decoded) {
      const std::string plain = tokenizer.decode(one.ids, true);
      const std::string full = tokenizer.decode(one.ids, false);
      CHECK_MESSAGE(plain == one.decoded, folder << ": decoded " << formats::dump_json(plain)
                                                 << " want " << formats::dump_json(one.decoded));
      CHECK_MESSAGE(full == one.decoded_with_special,
                    folder << ": decoded " << formats::dump_json(full) << " want "
                           << formats::dump_json(one.decoded_with_special));
      right = right && plain == one.decoded && full == one.decoded_with_special;
    }
    text::StreamDecoder stream(tokenizer, true);
    std::string streamed;
    for (const text::TokenId id : one.ids) streamed += stream.push(id);
    streamed += stream.flush();
    CHECK(streamed == tokenizer.decode(one.ids, true));
    wrong += right ? 0 : 1;
    if (wrong > 5) break;
  }
  CHECK_MESSAGE(wrong == 0, folder);
}

}  // namespace

TEST_CASE("every golden case holds through tokenizer.json and the compiled image") {
  if (!testing::have_goldens()) return;
  std::size_t seen = 0;
  for (const std::string& folder : testing::golden_folders()) {
    const std::string path = testing::golden_path(folder, "tokenizer.json");
    if (!std::filesystem::exists(path)) continue;
    const auto spec = formats::read_tokenizer_json_text(testing::read_file(path), path);
    REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
    const auto image = text::build_tokenizer_image(*spec);
    REQUIRE_MESSAGE(image.ok(), image.error().describe());
    const auto tokenizer = text::Tokenizer::open(*image, path);
    REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().describe());
    check_cases(*tokenizer, folder);
    ++seen;
  }
  CHECK(seen >= 15);
}

TEST_CASE("every golden case holds through GGUF metadata and the compiled image") {
  if (!testing::have_goldens()) return;
  std::size_t seen = 0;
  for (const std::string& folder : testing::golden_folders()) {
    const std::string path = testing::golden_path(folder, "ggml-vocab-" + folder + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    const auto file = formats::GgufFile::open(path);
    REQUIRE_MESSAGE(file.ok(), file.error().describe());
    const auto spec = convert::read_gguf_tokenizer(*file);
    REQUIRE_MESSAGE(spec.ok(), spec.error().describe());
    const auto image = text::build_tokenizer_image(*spec);
    REQUIRE_MESSAGE(image.ok(), image.error().describe());
    const auto tokenizer = text::Tokenizer::open(*image, path);
    REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().describe());
    check_cases(*tokenizer, folder);
    ++seen;
  }
  CHECK(seen >= 13);
}

}  // namespace quern
