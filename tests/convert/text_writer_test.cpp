// Texts that a model writes together are those that it writes alone.
#include "convert/text_writer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "fixtures.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr std::size_t kLength = 40;
constexpr std::uint64_t kSeed = 7;

/// One text in a session of its own.
std::vector<TokenId> written_alone(const Model& model, const std::vector<TokenId>& start,
                                   std::uint64_t seed) {
  SessionOptions context;
  context.context = static_cast<std::int64_t>(kLength);
  Session session = must(Session::create(model, context));
  GenerateOptions options;
  options.sampling = free_choice(seed);
  options.max_tokens = static_cast<std::int64_t>(kLength - start.size());
  options.ignore_end_tokens = true;
  std::vector<TokenId> text = start;
  const Generated reply = must(session.generate(start, options));
  text.insert(text.end(), reply.ids.begin(), reply.ids.end());
  return text;
}

TEST_CASE("texts written together are those of one session each, whatever keeps their state") {
  for (const char* name : {"llama3", "mixtral", "gemma3_text", "mamba", "lfm2"}) {
    CAPTURE(name);
    const auto source = golden(name);
    if (!source) return;
    const TempFolder folder;
    REQUIRE(convert(*source, folder.file("a.quern"), plain_options("q8")).ok());
    const Model model = must(Model::open(folder.file("a.quern")));
    const std::vector<std::vector<TokenId>> starts{{1, 5}, {2, 9}, {3, 3}};
    std::vector<std::vector<TokenId>> texts = starts;
    int steps = 0;
    const Progress count = [&](std::uint64_t, std::uint64_t) { return ++steps > 0; };
    ProgressMeter meter(count, 1);
    const Status written = write_on(model, kLength, kSeed, texts, meter);
    REQUIRE_MESSAGE(written.ok(), written.error().describe());
    CHECK(steps > 0);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      CHECK(texts[i].size() == kLength);
      CHECK(texts[i] == written_alone(model, starts[i], kSeed + i));
    }
    CHECK(texts[0] != texts[1]);
  }
}

TEST_CASE("writing can be cancelled") {
  const auto source = golden("llama3");
  if (!source) return;
  const TempFolder folder;
  REQUIRE(convert(*source, folder.file("a.quern"), plain_options("q8")).ok());
  const Model model = must(Model::open(folder.file("a.quern")));
  std::vector<std::vector<TokenId>> texts{{1}};
  const Progress stop = [](std::uint64_t, std::uint64_t) { return false; };
  ProgressMeter meter(stop, 1);
  const Status written = write_on(model, kLength, kSeed, texts, meter);
  REQUIRE_FALSE(written.ok());
  CHECK(written.error().code == ErrorCode::kCancelled);
}

}  // namespace
}  // namespace quern::convert::test
