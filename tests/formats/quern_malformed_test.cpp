#include <set>
#include <string>
#include <vector>

#include "malformed.h"
#include "support/small_files.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

namespace {

/// Every field of every record of a .quern file, from the tables of quern_layout.h.
std::vector<Field> fields_of(const std::string& bytes) {
  std::vector<Field> fields;
  const auto add = [&](std::span<const FieldSpec> table, std::size_t base) {
    for (const FieldSpec& spec : table) {
      fields.push_back({std::string(spec.name), base + spec.offset, spec.bytes});
    }
  };
  const ExactBytes exact(bytes);
  const auto file = QuernFile::from_bytes(exact.span(), "fields");
  REQUIRE(file.ok());
  add(kQuernHeaderFields, 0);
  for (std::size_t i = 0; i < file->sections().size(); ++i) {
    add(kQuernSectionFields, kQuernHeaderBytes + i * kQuernSectionBytes);
  }
  for (const SectionEntry& section : file->sections()) {
    if (section.kind != static_cast<std::uint32_t>(Section::kIndex)) continue;
    add(kQuernIndexHeadFields, section.offset);
    for (std::size_t i = 0; i < file->tensors().size(); ++i) {
      add(kQuernRecordFields, section.offset + kQuernIndexHeadBytes + i * kQuernRecordBytes);
    }
  }
  add(kQuernTailFields, file->body_bytes());
  add(kQuernTailFields, file->body_bytes() + kQuernTailSlotBytes);
  return fields;
}

void check_tiles(std::span<const FieldSpec> table, std::uint64_t record_bytes) {
  std::uint64_t end = 0;
  for (const FieldSpec& field : table) {
    CHECK(field.offset == end);
    end += field.bytes;
  }
  CHECK(end == record_bytes);
}

std::string flipped(std::string bytes, std::size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  return bytes;
}

}  // namespace

TEST_CASE("the field tables of .quern tile their records exactly") {
  check_tiles(kQuernHeaderFields, kQuernHeaderBytes);
  check_tiles(kQuernSectionFields, kQuernSectionBytes);
  check_tiles(kQuernIndexHeadFields, kQuernIndexHeadBytes);
  check_tiles(kQuernRecordFields, kQuernRecordBytes);
  check_tiles(kQuernTailFields, kQuernTailSlotBytes);
}

TEST_CASE("a .quern file cut anywhere, or with bytes after its end, is refused") {
  const std::string bytes = small_quern();
  REQUIRE(judge<QuernFile>(bytes).accepted);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(judge<QuernFile>(std::string_view(bytes).substr(0, n)).accepted);
  }
  for (const std::size_t n : {1u, 63u, 64u, 65u, 4096u}) {
    CHECK_FALSE(judge<QuernFile>(bytes + std::string(n, '\0')).accepted);
  }
}

TEST_CASE("every integer of a .quern file at every extreme is caught by a checksum") {
  const std::string bytes = small_quern();
  std::size_t cases = 0;
  for (const Field& field : fields_of(bytes)) {
    for (const std::uint64_t value : extremes(bytes.size() - field.offset)) {
      for (const bool swapped : {false, true}) {
        const std::string changed = with_field(bytes, field.offset, field.bytes, value, swapped);
        if (changed == bytes) continue;
        CAPTURE(field.name);
        CAPTURE(value);
        CHECK_FALSE(judge<QuernFile>(changed).accepted);
        ++cases;
      }
    }
  }
  MESSAGE(cases << " cases");
}

TEST_CASE(
    "every integer of a .quern file at every extreme behind right checksums is refused or sound") {
  const std::string bytes = small_quern();
  REQUIRE(reseal_quern(bytes) == bytes);
  // Where another number may be as well-formed as the right one.
  const std::set<std::string> may_pass = {
      "section kind",  // An unknown optional section.
      "section flags",   "section checksum",
      "section size",  // Of sections that only verify reads; see below.
      "header checksum", "table checksum",
      "slot checksum",  // Mended by resealing.
      "tail sequence"};
  std::size_t cases = 0, refused = 0;
  for (const Field& field : fields_of(bytes)) {
    for (const std::uint64_t value : extremes(bytes.size() - field.offset)) {
      for (const bool swapped : {false, true}) {
        const std::string changed =
            reseal_quern(with_field(bytes, field.offset, field.bytes, value, swapped));
        if (changed == bytes) continue;
        const Verdict verdict = judge<QuernFile>(changed);
        ++cases;
        refused += !verdict.accepted;
        CAPTURE(field.name);
        CAPTURE(value);
        if (may_pass.count(field.name) == 0) CHECK_FALSE(verdict.accepted);
        if (verdict.accepted &&
            (field.name == "section size" || field.name == "section checksum")) {
          const ExactBytes exact(changed);
          const auto file = QuernFile::from_bytes(exact.span(), "x");
          CHECK_FALSE(file->verify_checksums().ok());
        }
      }
    }
  }
  MESSAGE(cases << " cases, " << refused << " refused");
}

TEST_CASE("every pair of dimensions whose product wraps is refused behind right checksums") {
  const std::string bytes = small_quern();
  std::vector<Field> dims;
  for (const Field& field : fields_of(bytes)) {
    if (field.name == "dims[0]" || field.name == "dims[1]") dims.push_back(field);
  }
  REQUIRE(dims.size() == 6);  // attn.q, mlp.up, norm in the order of names.
  for (const std::size_t tensor : {0u, 2u}) {
    for (const std::uint64_t a : extremes(64)) {
      for (const std::uint64_t b : extremes(64)) {
        std::string changed = with_field(bytes, dims[tensor].offset, 8, a);
        changed = with_field(std::move(changed), dims[tensor + 1].offset, 8, b);
        changed = reseal_quern(std::move(changed));
        CAPTURE(a);
        CAPTURE(b);
        // The weights hash covers the shape, so even an equal size is seen.
        if (changed != bytes) CHECK_FALSE(judge<QuernFile>(changed).accepted);
      }
    }
  }
}

TEST_CASE("every flipped bit of a .quern file is found, at the latest by verify") {
  const std::string bytes = small_quern();
  const ExactBytes exact(bytes);
  std::vector<std::pair<std::size_t, std::size_t>> opened;  // What opening must find.
  {
    const auto file = QuernFile::from_bytes(exact.span(), "x");
    REQUIRE(file.ok());
    opened.emplace_back(0, kQuernFrontBytes);
    for (const SectionEntry& section : file->sections()) {
      const auto kind = static_cast<Section>(section.kind);
      if (kind == Section::kConfig || kind == Section::kIndex || kind == Section::kTemplate ||
          kind == Section::kGeneration || kind == Section::kCache) {
        opened.emplace_back(section.offset, section.offset + section.bytes.size());
      }
    }
    opened.emplace_back(file->body_bytes(), bytes.size());
  }
  std::size_t late = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const ExactBytes changed(flipped(bytes, bit));
    const auto file = QuernFile::from_bytes(changed.span(), "x");
    if (!file.ok()) continue;
    ++late;
    for (const auto& [begin, end] : opened) {
      if (bit / 8 >= begin && bit / 8 < end) FAIL_CHECK("opening missed bit " << bit);
    }
    const Status status = file->verify_checksums();
    if (status.ok()) FAIL_CHECK("verify missed bit " << bit);
  }
  CHECK(late > 0);
}
