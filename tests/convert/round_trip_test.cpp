// GGUF → .quern → GGUF: the bits of every block, and where the rows go.
#include <doctest/doctest.h>

#include <cstring>

#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/quern_file.h"

namespace quern::convert::test {
namespace {

using formats::GgufFile;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Same names, types, dimensions and bytes, in whatever order.
void check_same_tensors(const std::string& a, const std::string& b) {
  const auto first = GgufFile::open(a), second = GgufFile::open(b);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->tensors().size() == second->tensors().size());
  for (const auto& tensor : first->tensors()) {
    const auto* other = second->find_tensor(tensor.name);
    CAPTURE(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(tensor.type == other->type);
    CHECK(tensor.ne == other->ne);
    CHECK(tensor.n_dims == other->n_dims);
    CHECK(text_of(tensor.data) == text_of(other->data));
  }
}

void convert_or_fail(const std::string& from, const std::string& to, const std::string& encoding) {
  const auto report = convert(from, to, plain_options(encoding, 2));
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
}

TEST_CASE("GGUF to .quern and back returns every bit of every encoding") {
  for (const quant::EncodingOps& ops : quant::all_ops()) {
    if (ops.interleave_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const TempFolder folder;
    write_toy_gguf(folder.file("a.gguf"), {.encoding = ops.id, .random_bits = true, .vocab = 83});
    convert_or_fail(folder.file("a.gguf"), folder.file("b.quern"), "keep");
    convert_or_fail(folder.file("b.quern"), folder.file("c.gguf"), "keep");
    check_same_tensors(folder.file("a.gguf"), folder.file("c.gguf"));
    convert_or_fail(folder.file("c.gguf"), folder.file("d.quern"), "keep");
    const auto b = formats::QuernFile::open(folder.file("b.quern"));
    const auto d = formats::QuernFile::open(folder.file("d.quern"));
    REQUIRE(b.ok());
    REQUIRE(d.ok());
    CHECK(b->weights_hash() == d->weights_hash());
  }
}

TEST_CASE("the shipped SmolLM2 and Gemma 3 files come back bit for bit") {
  for (const char* variable : {"QUERN_TEST_SMOLLM2", "QUERN_TEST_GEMMA3"}) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
      MESSAGE(variable << " names no GGUF file");
      continue;
    }
    const TempFolder folder;
    convert_or_fail(path, folder.file("b.quern"), "keep");
    convert_or_fail(folder.file("b.quern"), folder.file("c.gguf"), "keep");
    check_same_tensors(path, folder.file("c.gguf"));
  }
}

TEST_CASE("rows of rotary projections are moved, and their bits are not") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"), {.encoding = Encoding::kQ8_0});
  convert_or_fail(folder.file("a.gguf"), folder.file("b.quern"), "keep");
  const auto gguf = GgufFile::open(folder.file("a.gguf"));
  const auto quern = formats::QuernFile::open(folder.file("b.quern"));
  const quant::EncodingOps& ops = *quant::find_ops(Encoding::kQ8_0);
  const auto row_bytes = ops.foreign_row_bytes(256);
  for (const auto& [from, to, moved] : {std::tuple{"blk.0.attn_q.weight", "layers.0.wq", true},
                                        std::tuple{"blk.0.attn_k.weight", "layers.0.wk", true},
                                        std::tuple{"blk.0.attn_v.weight", "layers.0.wv", false}}) {
    const auto* source = gguf->find_tensor(from);
    const auto* stored = quern->find(to);
    REQUIRE(source != nullptr);
    REQUIRE(stored != nullptr);
    const auto panel = panel_bytes(*find_encoding(Encoding::kQ8_0), 256).value();
    for (std::uint64_t row = 0; row < stored->rows(); ++row) {
      std::string bytes(row_bytes, '\0');
      std::byte* rows[16] = {};
      rows[row % 16] = reinterpret_cast<std::byte*>(bytes.data());
      ops.deinterleave_panel(stored->data.data() + row / 16 * panel, 256, rows);
      // Our row j·32 + i of a head of 64 is the file's row 2i + j.
      const auto in_head = row % 64;
      const auto pair = row - in_head + 2 * (in_head % 32) + in_head / 32;
      const auto source_row = moved ? pair : row;
      CHECK(text_of(source->data.subspan(source_row * row_bytes, row_bytes)) == bytes);
    }
  }
}

TEST_CASE("a Hugging Face checkpoint through GGUF is the same as without") {
  for (const std::string& name : golden_names()) {
    const auto path = golden(name);
    if (!path) return;
    for (const char* encoding : {"f32", "bf16", "f16", "q8_0"}) {
      CAPTURE(name);
      CAPTURE(encoding);
      const TempFolder folder;
      convert_or_fail(*path, folder.file("direct.quern"), encoding);
      const auto gguf = convert(*path, folder.file("by.gguf"), plain_options(encoding));
      REQUIRE_MESSAGE(gguf.ok(), (gguf.ok() ? "" : gguf.error().describe()));
      convert_or_fail(folder.file("by.gguf"), folder.file("by.quern"), "keep");
      const auto direct = formats::QuernFile::open(folder.file("direct.quern"));
      const auto by = formats::QuernFile::open(folder.file("by.quern"));
      REQUIRE(direct.ok());
      REQUIRE(by.ok());
      REQUIRE(direct->tensors().size() == by->tensors().size());
      for (const auto& tensor : direct->tensors()) {
        const auto* other = by->find(tensor.name);
        CAPTURE(tensor.name);
        REQUIRE(other != nullptr);
        // GGUF holds whole blocks alone: narrow matrices became float16 there.
        if (tensor.encoding != other->encoding) continue;
        CHECK(text_of(tensor.data) == text_of(other->data));
      }
    }
  }
}

TEST_CASE("what a GGUF file says of itself survives the way there and back") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"), {.encoding = Encoding::kQ4_0});
  convert_or_fail(folder.file("a.gguf"), folder.file("b.quern"), "keep");
  convert_or_fail(folder.file("b.quern"), folder.file("c.gguf"), "keep");
  const auto a = GgufFile::open(folder.file("a.gguf")), c = GgufFile::open(folder.file("c.gguf"));
  REQUIRE(c.ok());
  for (const auto& entry : a->entries()) {
    CAPTURE(entry.key);
    const auto* other = c->find(entry.key);
    REQUIRE(other != nullptr);
    CHECK(entry.type == other->type);
    CHECK(text_of(entry.value) == text_of(other->value));
    CHECK(text_of(entry.array.bytes()) == text_of(other->array.bytes()));
  }
  CHECK(c->config().integer("general.file_type").value() == 2);
  CHECK(c->entries().front().key == "general.architecture");
}

TEST_CASE("GGUF rows that are no whole blocks get the next larger encoding, and a note") {
  const auto path = golden("llama2");
  if (!path) return;
  const TempFolder folder;
  const auto report = convert(*path, folder.file("out.gguf"), plain_options("q4_k"));
  REQUIRE(report.ok());
  CHECK_FALSE(report->plan.warnings.empty());
  const auto file = GgufFile::open(folder.file("out.gguf"));
  REQUIRE(file.ok());
  for (const auto& tensor : file->tensors()) CHECK(tensor.type->encoding != Encoding::kQ4_K);
}

TEST_CASE("native encodings leave for GGUF only through a named one") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"));
  convert_or_fail(folder.file("a.gguf"), folder.file("b.quern"), "q8");
  const auto refused = convert(folder.file("b.quern"), folder.file("c.gguf"), plain_options());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kUnsupported);
  CHECK(refused.error().describe().find("q8_0") != std::string::npos);
  CHECK(folder.names() == std::vector<std::string>{"a.gguf", "b.quern"});
  convert_or_fail(folder.file("b.quern"), folder.file("c.gguf"), "q8_0");

  // Close to the first file: two roundings to 8 bits.
  const auto a = GgufFile::open(folder.file("a.gguf")), c = GgufFile::open(folder.file("c.gguf"));
  const auto* before = a->find_tensor("blk.0.attn_q.weight");
  const auto* after = c->find_tensor("blk.0.attn_q.weight");
  const quant::EncodingOps& ops = *quant::find_ops(Encoding::kQ8_0);
  std::vector<std::byte> panel(panel_bytes(*find_encoding(Encoding::kQ8_0), 256).value());
  std::vector<float> rows16(16 * 256);
  const std::byte* rows[16] = {after->data.data() + 5 * ops.foreign_row_bytes(256)};
  ops.interleave_panel(rows, 256, panel.data());
  ops.dequantize_panel(panel.data(), 256, rows16.data());
  for (std::size_t k = 0; k < 256; ++k) {
    float want = 0;
    std::memcpy(&want, before->data.data() + (5 * 256 + k) * 4, 4);
    CHECK(rows16[k] == doctest::Approx(want).epsilon(0.0).scale(1.0).epsilon(0.004));
  }
}

}  // namespace
}  // namespace quern::convert::test
