// Pages of a mapped source: what has been read once is let go, so that a large checkpoint does not
// become resident while it is quantized.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "fixtures.h"

namespace quern::convert::test {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

/// Bytes of this process's mappings of `path` that are resident; −1 where the system does not say.
std::int64_t resident_of(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  if (!maps) return -1;
  std::int64_t sum = 0;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    const std::size_t word = line.find(' ');
    if (word != std::string::npos && word > 0 && line[word - 1] != ':') {
      inside = line.size() > path.size() &&
               line.compare(line.size() - path.size(), path.size(), path) == 0;
    } else if (inside && line.rfind("Rss:", 0) == 0) {
      sum += std::stoll(line.substr(4)) * 1024;
    }
  }
  return sum;
}

struct Residence {
  std::int64_t most = 0, last = 0;
};

/// How much of the source was resident whenever a conversion told its progress.
Residence watch(const std::string& source, const std::string& output, ConvertOptions options) {
  Residence seen;
  options.progress = [&](std::uint64_t, std::uint64_t) {
    seen.last = resident_of(source);
    seen.most = std::max(seen.most, seen.last);
    return true;
  };
  const auto report = convert(source, output, options);
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
  return seen;
}

/// A toy with an embedding and an output matrix of 16 MiB each.
void write_two_large(const TempFolder& folder) {
  write_toy_gguf(folder.file("a.gguf"), {.vocab = 16'384, .untied = true});
  REQUIRE(convert(folder.file("a.gguf"), folder.file("a.quern"), plain_options("f32")).ok());
}

}  // namespace

TEST_CASE("while a tensor is encoded, those before it are not resident") {
  const TempFolder folder;
  write_two_large(folder);
  for (const std::string source : {"a.gguf", "a.quern"}) {
    CAPTURE(source);
    const Residence seen = watch(folder.file(source), folder.file("b.quern"), plain_options("q4"));
    if (seen.last < 0) return;
    CHECK(seen.most > 8 * kMiB);  // It is seen at all.
    CHECK(seen.most < 20 * kMiB);
  }
}

TEST_CASE("a choice for a wanted size lets go of the tensors that it measured") {
  const TempFolder folder;
  write_two_large(folder);
  ConvertOptions options = plain_options("keep", 2);
  options.target_bits = 4.5;
  const Residence seen = watch(folder.file("a.quern"), folder.file("b.quern"), options);
  if (seen.last < 0) return;
  CHECK(seen.most > 8 * kMiB);
  CHECK(seen.most < 20 * kMiB);
}

}  // namespace quern::convert::test
