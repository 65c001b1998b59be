// GGUF files whose queries, keys and values are rows of one tensor, in families that have three.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"

namespace quern::convert::test {
namespace {

using formats::GgufFile;
using formats::GgufTensor;

/// A tensor's parts: itself, or the three that become one.
struct Row {
  std::string name;
  std::vector<const GgufTensor*> parts;
};

std::vector<Row> fused_rows(const GgufFile& file) {
  constexpr std::array<std::string_view, 3> kParts{".attn_q.", ".attn_k.", ".attn_v."};
  std::vector<Row> rows;
  for (const GgufTensor& tensor : file.tensors()) {
    std::string name(tensor.name);
    const auto at_part = [&](std::string_view part) { return name.find(part); };
    if (at_part(kParts[1]) != std::string::npos || at_part(kParts[2]) != std::string::npos)
      continue;
    const std::size_t at = at_part(kParts[0]);
    if (at == std::string::npos) {
      rows.push_back({name, {&tensor}});
      continue;
    }
    Row row{std::string(name).replace(at, kParts[0].size(), ".attn_qkv."), {}};
    for (const std::string_view part : kParts)
      row.parts.push_back(file.find_tensor(std::string(name).replace(at, part.size(), part)));
    rows.push_back(std::move(row));
  }
  return rows;
}

/// The file `from` with queries, keys and values of every layer as one tensor.
void fuse(const std::string& from, const std::string& to) {
  const auto file = must(GgufFile::open(from));
  auto writer = must(formats::GgufWriter::create(to, file.alignment()));
  for (const auto& entry : file.entries()) REQUIRE(writer.add_entry(entry).ok());
  const auto rows = fused_rows(file);
  CHECK(rows.size() < file.tensors().size());
  for (const Row& row : rows) {
    const GgufTensor& first = *row.parts.front();
    std::vector<std::uint64_t> ne(first.ne.begin(), first.ne.begin() + first.n_dims);
    ne.back() = 0;
    for (const GgufTensor* part : row.parts)
      ne.back() += part->ne[static_cast<std::size_t>(part->n_dims - 1)];
    REQUIRE(writer.declare_tensor(row.name, ne, *first.type).ok());
  }
  REQUIRE(writer.begin().ok());
  for (const Row& row : rows)
    for (const GgufTensor* part : row.parts) REQUIRE(writer.write(part->data).ok());
  REQUIRE(writer.finish().ok());
}

}  // namespace

TEST_CASE("a fused tensor of queries, keys and values is read as the three of its family") {
  const std::vector<TokenId> ids = {1, 5, 9, 2, 30, 7};
  for (const char* name : {"llama2", "llama3", "qwen2", "gemma3_text", "mixtral", "starcoder2"}) {
    for (const char* encoding : {"keep", "q8_0"}) {
      CAPTURE(name);
      CAPTURE(encoding);
      const auto source = golden(name);
      if (!source) return;
      const TempFolder folder;
      must(convert(*source, folder.file("three.gguf"), plain_options(encoding)));
      fuse(folder.file("three.gguf"), folder.file("one.gguf"));
      const auto report =
          must(convert(folder.file("one.gguf"), folder.file("a.quern"), plain_options()));
      CHECK(logits_of(must(Model::open(folder.file("a.quern"))), ids) ==
            logits_of(must(open_any(folder.file("three.gguf"))), ids));
      for (const std::string& warning : report.plan.warnings)
        CHECK(warning.find("attn_qkv") == std::string::npos);
    }
  }
}

TEST_CASE("a fused tensor of other rows than the configuration says is refused") {
  const TempFolder folder;
  const std::string path = folder.file("a.gguf");
  write_toy_gguf(path, {.edit = [](const std::string& name, std::vector<std::uint64_t>& ne) {
                   if (name == "blk.0.attn_v.weight") ne[1] = 64;
                   return true;
                 }});
  fuse(path, folder.file("one.gguf"));
  const auto made = plan(folder.file("one.gguf"), folder.file("x.quern"), plain_options());
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code == ErrorCode::kMissing);
}

}  // namespace quern::convert::test
