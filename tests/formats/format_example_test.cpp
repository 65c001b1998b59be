// The example in formats/FORMAT.md is a real file: byte for byte what the writer writes, and
// accepted by the reader.

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "formats/quern_file.h"
#include "formats/quern_writer.h"
#include "malformed.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

namespace {

std::string example_file() {
  MemorySink sink;
  auto writer = QuernWriter::to_sink(sink, R"({"architecture":"tiny"})");
  REQUIRE(writer.ok());
  const std::array<std::uint64_t, 2> matrix{1, 4};
  const std::array<std::uint64_t, 1> vector{2};
  REQUIRE(writer->declare_tensor("w", Encoding::kF16, Layout::kPanel16, matrix).ok());
  REQUIRE(writer->declare_tensor("b", Encoding::kF32, Layout::kPlain, vector).ok());
  REQUIRE(writer->set_section(Section::kTemplate, "{{ x }}").ok());
  REQUIRE(writer->begin().ok());
  std::array<std::byte, 128> panel{};  // Row 0 holds 1, 2, 3, 4; the other fifteen are padding.
  constexpr std::uint16_t kHalves[] = {0x3c00, 0x4000, 0x4200, 0x4400};
  for (std::size_t k = 0; k < 4; ++k) store_le(panel.data() + 32 * k, kHalves[k]);
  REQUIRE(writer->write(panel).ok());
  std::array<std::byte, 8> bias{};
  store_le(bias.data(), 1.0f);
  store_le(bias.data() + 4, -2.0f);
  REQUIRE(writer->write(bias).ok());
  REQUIRE(writer->finish().ok());
  return std::string(as_text(sink.bytes()));
}

/// As `hexdump -C`, without the text column; a star for repeated lines.
std::string dump(const std::string& bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out, last;
  bool starred = false;
  const auto address = [&](std::size_t at) {
    for (int shift = 28; shift >= 0; shift -= 4) out += kHex[at >> shift & 15];
  };
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const std::string line = bytes.substr(at, 16);
    if (line == last) {
      if (!starred) out += "*\n";
      starred = true;
      continue;
    }
    starred = false;
    last = line;
    address(at);
    for (const char c : line) {
      out += ' ';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    }
    out += '\n';
  }
  address(bytes.size());
  return out + "\n";
}

}  // namespace

TEST_CASE("the example of FORMAT.md is what the writer writes, and the reader accepts it") {
  const std::string bytes = example_file();
  CHECK(judge<QuernFile>(bytes).accepted);
  if (const char* path = std::getenv("QUERN_DUMP_EXAMPLE")) std::ofstream(path) << dump(bytes);
  std::ifstream in(QUERN_SOURCE_DIR "/formats/FORMAT.md");
  std::stringstream text;
  text << in.rdbuf();
  CHECK(text.str().find("```\n" + dump(bytes) + "```\n") != std::string::npos);
}
