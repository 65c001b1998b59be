// One row per known hole of other readers (RELIABILITY.md sections 1a and 1b), each with its
// neighbours. Rows about vocabularies and templates are tested where those are read.

#include <functional>
#include <string>
#include <vector>

#include "malformed.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

namespace {

constexpr std::uint64_t kMax = ~std::uint64_t{0};

struct Row {
  const char* id;
  std::function<std::vector<std::string>()> files;
  std::vector<ErrorCode> codes;  ///< Each file must end in one of them.
};

/// One metadata entry: key, type, raw value.
std::string entry(std::string_view key, std::uint32_t type, std::string_view value) {
  ByteBuilder out;
  out.string("key", key).number("type", type).text(value);
  return out.bytes;
}

template <class T>
std::string le(T value) {
  std::string bytes;
  append_le(bytes, value);
  return bytes;
}

std::string array_of(std::uint32_t type, std::uint64_t count, std::string_view rest = "") {
  return entry("tokenizer.ggml.tokens", 9, le(type) + le(count) + std::string(rest));
}

std::string tensor_record(std::string_view name, const std::vector<std::uint64_t>& ne,
                          std::uint32_t type, std::uint64_t offset) {
  ByteBuilder out;
  out.string("name", name).number("n_dims", static_cast<std::uint32_t>(ne.size()));
  for (const std::uint64_t extent : ne) out.number("ne", extent);
  out.number("type", type).number("offset", offset);
  return out.bytes;
}

/// A file of these tensors with `data` bytes of data.
std::string with_tensors(const std::vector<std::string>& records, std::size_t data) {
  std::string body;
  for (const std::string& record : records) body += record;
  std::string bytes = gguf_with(records.size(), 0, body);
  bytes.resize((bytes.size() + 31) / 32 * 32, '\0');
  return bytes + std::string(data, '\1');
}

std::vector<std::string> each(const std::vector<std::uint64_t>& values,
                              const std::function<std::string(std::uint64_t)>& make) {
  std::vector<std::string> files;
  for (const std::uint64_t value : values) files.push_back(make(value));
  return files;
}

const std::vector<std::uint64_t> kCounts = {1,
                                            2,
                                            kMax / 24 + 1,
                                            kMax / 24,
                                            kMax / 14 + 1,
                                            kMax,
                                            kMax - 1,
                                            std::uint64_t{1} << 32,
                                            std::uint64_t{1} << 63,
                                            std::uint64_t{1} << 31,
                                            0x1D1D1D1D1D1D1D1Eu,
                                            kMax / 88 + 1};

const std::vector<ErrorCode> kBounds = {ErrorCode::kTruncated, ErrorCode::kOutOfRange};

std::vector<Row> counts_and_strings() {
  return {
      {"CVE-2024-23605 n_kv unchecked before the allocation's product",
       [] { return each(kCounts, [](auto n) { return gguf_with(0, n, ""); }); }, kBounds},
      {"CVE-2024-21836 n_tensors times record size wraps",
       [] { return each(kCounts, [](auto n) { return gguf_with(n, 0, ""); }); }, kBounds},
      {"CVE-2024-23496 string length plus one wraps",
       [] {
         return each({kMax, kMax - 1, std::uint64_t{1} << 63, std::uint64_t{1} << 31, 0, 17},
                     [](auto n) { return gguf_with(0, 1, le(n) + std::string(16, 'a')); });
       },
       kBounds},
      {"CVE-2024-39720 a value's string length is beyond the file",
       [] {
         return each({kMax, kMax - 7, std::uint64_t{1} << 63, std::uint64_t{1} << 32, 1, 9},
                     [](auto n) { return gguf_with(0, 1, entry("a", 8, le(n))); });
       },
       {ErrorCode::kTruncated}},
      {"CVE-2024-21825 array count times element size wraps",
       [] {
         std::vector<std::string> files;
         for (const std::uint32_t type : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 10u, 11u, 12u}) {
           for (const std::uint64_t n : {(std::uint64_t{1} << 61) + 1, kMax, kMax / 2 + 1,
                                         kMax / 4 + 1, kMax / 8 + 1, std::uint64_t{17}}) {
             files.push_back(gguf_with(0, 1, array_of(type, n, std::string(16, '\0'))));
           }
         }
         return files;
       },
       {ErrorCode::kTruncated}},
      {"GH 19003 a string is resized before the file's rest is looked at (51 bytes)",
       [] {
         return std::vector<std::string>{
             gguf_with(0, 1, le(std::uint64_t{1} << 40) + "abcdefghijklmnopqrs")};
       },
       kBounds},
      {"gguf-py arrays of arrays",
       [] {
         std::string nested;
         for (int i = 0; i < 100000; ++i) nested += le(std::uint32_t{9}) + le(std::uint64_t{1});
         return std::vector<std::string>{gguf_with(0, 1, entry("a", 9, nested)),
                                         gguf_with(0, 1, entry("a", 9, nested.substr(0, 12))),
                                         gguf_with(0, 1, entry("a", 9, nested.substr(0, 24))),
                                         gguf_with(0, 1, array_of(9, 0)),
                                         gguf_with(0, 1, array_of(9, kMax))};
       },
       {ErrorCode::kUnsupported}},
      {"types that do not exist",
       [] {
         return each({13, 14, 255, 0x80000000u, 0xffffffffu}, [](auto n) {
           return gguf_with(0, 1, entry("a", static_cast<std::uint32_t>(n), std::string(32, '\0')));
         });
       },
       {ErrorCode::kMalformed}},
      {"a bool that is neither 0 nor 1",
       [] {
         return each({2, 3, 128, 255}, [](auto n) {
           return gguf_with(0, 1, entry("a", 7, le(static_cast<std::uint8_t>(n))));
         });
       },
       {ErrorCode::kMalformed}},
      {"a key given twice",
       [] {
         const std::string one = entry("a", 0, "\1"), two = entry("b", 0, "\1");
         return std::vector<std::string>{
             gguf_with(0, 2, one + one), gguf_with(0, 3, one + two + one),
             gguf_with(0, 2, one + entry("a", 8, le(std::uint64_t{0})))};
       },
       {ErrorCode::kMalformed}},
      {"GH 26318 alignment of a wrong type or value",
       [] {
         std::vector<std::string> files;
         for (const std::uint32_t value : {0u, 1u, 4u, 7u, 13u, 33u, 1u << 17, 1u << 31, ~0u}) {
           files.push_back(gguf_with(0, 1, entry("general.alignment", 4, le(value))));
         }
         for (const std::uint32_t type : {0u, 1u, 2u, 3u, 5u, 6u, 7u, 8u, 10u, 11u, 12u}) {
           std::string value = le(std::uint64_t{0});
           if (type == 7) value = "\1";
           const std::uint64_t size = gguf_type_bytes(static_cast<GgufType>(type));
           if (size != 0) value.resize(size);
           files.push_back(gguf_with(0, 1, entry("general.alignment", type, value)));
         }
         return files;
       },
       {ErrorCode::kMalformed, ErrorCode::kOutOfRange}},
  };
}

std::vector<Row> tensors() {
  return {
      {"CVE-2024-21802 more dimensions than the fixed array holds",
       [] {
         std::vector<std::string> files;
         for (const std::uint32_t n : {0u, 5u, 6u, 8u, 16u, 255u, 0x7fffffffu, 0x80000000u, ~0u}) {
           std::string record = le(std::uint64_t{1}) + "a" + le(n);
           for (std::uint32_t i = 0; i < std::min(n, 16u); ++i) record += le(std::uint64_t{1});
           files.push_back(gguf_with(1, 0, record + std::string(64, '\0')));
         }
         return files;
       },
       {ErrorCode::kOutOfRange}},
      {"CVE-2025-53630 the sum of padded sizes wraps",
       [] {
         const std::uint64_t half = std::uint64_t{1} << 63;
         std::vector<std::string> files;
         for (const std::uint64_t n :
              {half, half - 32, half + 32, half - 64, half + 4096, kMax - 31, kMax}) {
           files.push_back(
               with_tensors({tensor_record("a", {n}, 24, 0), tensor_record("b", {n}, 24, n)}, 64));
         }
         return files;
       },
       kBounds},
      {"CVE-2026-27940 the old proof again: two I8 tensors of 0x7FFF…FFC0, and neighbours",
       [] {
         std::vector<std::string> files;
         for (const std::uint64_t n :
              {0x7FFFFFFFFFFFFFC0u, 0x7FFFFFFFFFFFFFBFu, 0x7FFFFFFFFFFFFFC1u, 0x7FFFFFFFFFFFFFE0u,
               0x7FFFFFFFFFFFFFFFu}) {
           files.push_back(
               with_tensors({tensor_record("a", {n}, 24, 0), tensor_record("b", {n}, 24, n)}, 96));
         }
         return files;
       },
       kBounds},
      {"CVE-2026-33298 the product of the dimensions wraps, per type",
       [] {
         std::vector<std::string> files;
         for (const GgmlType& type : ggml_types()) {
           const std::uint64_t row = type.block_elements;
           for (const auto& ne : std::vector<std::vector<std::uint64_t>>{
                    {row << 20, (std::uint64_t{1} << 42) + 1, 4},
                    {row, std::uint64_t{1} << 32, std::uint64_t{1} << 32},
                    {row, kMax / type.block_bytes + 1},
                    {row, kMax},
                    {row, std::uint64_t{1} << 63, 2},
                    {row, std::uint64_t{1} << 32, std::uint64_t{1} << 31, 2}}) {
             files.push_back(with_tensors({tensor_record("a", ne, type.id, 0)}, 64));
           }
         }
         return files;
       },
       kBounds},
      {"CVE-2026-7482 a shape larger than the file",
       [] {
         return each({33, 48, 64, 1000, 1u << 20, std::uint64_t{1} << 40},
                     [](auto n) { return with_tensors({tensor_record("a", {n}, 1, 0)}, 64); });
       },
       {ErrorCode::kTruncated}},
      {"ik_llama 2437 a gap, an overlap or an alias between tensors",
       [] {
         std::vector<std::string> files;
         for (const std::uint64_t at : {0u, 1u, 31u, 33u, 64u, 96u, 128u}) {
           files.push_back(
               with_tensors({tensor_record("a", {8}, 0, 0), tensor_record("b", {8}, 0, at)}, 192));
         }
         files.push_back(with_tensors({tensor_record("a", {8}, 0, 32)}, 64));
         return files;
       },
       {ErrorCode::kMalformed}},
      {"bytes after the last tensor",
       [] {
         return each({64, 65, 1000, 4096}, [](auto n) {
           return with_tensors({tensor_record("a", {8}, 0, 0)}, static_cast<std::size_t>(n));
         });
       },
       {ErrorCode::kMalformed}},
      {"rows that are no whole blocks, empty dimensions",
       [] {
         return std::vector<std::string>{with_tensors({tensor_record("a", {31}, 2, 0)}, 64),
                                         with_tensors({tensor_record("a", {33}, 8, 0)}, 64),
                                         with_tensors({tensor_record("a", {255}, 12, 0)}, 64),
                                         with_tensors({tensor_record("a", {0}, 0, 0)}, 64),
                                         with_tensors({tensor_record("a", {8, 0}, 0, 0)}, 64)};
       },
       {ErrorCode::kOutOfRange}},
      {"tensor types that do not exist",
       [] {
         return each({4, 5, 31, 32, 33, 36, 37, 38, 1000, 0xffffffffu}, [](auto n) {
           return with_tensors({tensor_record("a", {256}, static_cast<std::uint32_t>(n), 0)}, 64);
         });
       },
       {ErrorCode::kUnsupported}},
      {"a tensor name given twice",
       [] {
         return std::vector<std::string>{
             with_tensors({tensor_record("a", {8}, 0, 0), tensor_record("a", {8}, 0, 32)}, 64)};
       },
       {ErrorCode::kMalformed}},
      {"big endian and other versions",
       [] {
         std::vector<std::string> files;
         for (const std::uint32_t version : {0u, 1u, 4u, 0x02000000u, 0x03000000u, ~0u}) {
           files.push_back(with_field(gguf_with(0, 0, ""), 4, 4, version));
         }
         return files;
       },
       {ErrorCode::kUnsupported}},
  };
}

template <class File>
std::size_t check_rows(const std::vector<Row>& rows) {
  std::size_t cases = 0;
  for (const Row& row : rows) {
    for (const std::string& bytes : row.files()) {
      const Verdict verdict = judge<File>(bytes);
      CAPTURE(row.id);
      CAPTURE(verdict.error.describe());
      CHECK_FALSE(verdict.accepted);
      bool expected = false;
      for (const ErrorCode code : row.codes) expected |= verdict.error.code == code;
      CHECK(expected);
      ++cases;
    }
  }
  return cases;
}

std::string header_of(std::uint64_t length, std::string_view rest) {
  return le(length) + std::string(rest);
}

}  // namespace

TEST_CASE("the holes of other GGUF readers are closed here") {
  const std::size_t cases =
      check_rows<GgufFile>(counts_and_strings()) + check_rows<GgufFile>(tensors());
  MESSAGE(cases << " hostile GGUF files");
  CHECK(cases > 200);
}

TEST_CASE("the holes of other safetensors readers are closed here") {
  const std::string good = small_safetensors_header();
  const std::vector<Row> rows = {
      {"lattice 752, fastllm 713, nurl 471: the header length plus something wraps",
       [] {
         return each({kMax, kMax - 4, kMax - 7, kMax - 8, std::uint64_t{1} << 63, 100'000'001},
                     [](auto n) { return header_of(n, "{}"); });
       },
       {ErrorCode::kLimit}},
      {"a header longer than the file",
       [] {
         return each({3, 100, 100'000'000}, [](auto n) { return header_of(n, "{}"); });
       },
       {ErrorCode::kTruncated}},
      {"Trail of Bits: polyglots: bytes before the brace, behind the header, behind the data",
       [&] {
         return std::vector<std::string>{safetensors_with("\n" + good, kSmallSafetensorsData),
                                         safetensors_with(good + "x", kSmallSafetensorsData),
                                         safetensors_with(good, kSmallSafetensorsData + 1)};
       },
       {ErrorCode::kMalformed}},
      {"modelaudit 1612: pickles, zip archives and other containers",
       [] {
         return std::vector<std::string>{
             std::string("\x80\x02}q\x00.", 6) + std::string(32, 'a'),
             std::string("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", 11) + std::string(32, 'a'),
             std::string("PK\3\4\x14\0\0\0\x08\0", 10) + std::string(32, 'a'),
             std::string("\x89HDF\r\n\x1a\n") + std::string(32, 'a'),
             small_gguf().bytes,
             small_quern(),
             "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"};
       },
       {ErrorCode::kUnsupported}},
  };
  MESSAGE(check_rows<SafetensorsFile>(rows) << " hostile safetensors files");
}

TEST_CASE("a safetensors header may begin with the bytes of another magic by chance") {
  // A header length whose low bytes are those of a pickle of protocol 2.
  std::string header = small_safetensors_header();
  header.resize(0x010280, ' ');
  CHECK(judge<SafetensorsFile>(safetensors_with(header, kSmallSafetensorsData)).accepted);
}

TEST_CASE("only regular files are opened, and empty ones refused") {
  const TempDir dir;
  const std::string empty = dir.write("empty", "");
  const auto code = [](const auto& result) {
    return result.ok() ? ErrorCode::kInternal : result.error().code;
  };
  for (const std::string& path : {std::string("/dev/zero"), dir.path()}) {
    CHECK(code(GgufFile::open(path)) == ErrorCode::kUnsupported);
    CHECK(code(QuernFile::open(path)) == ErrorCode::kUnsupported);
    CHECK(code(SafetensorsFile::open(path)) == ErrorCode::kUnsupported);
    CHECK(code(read_file(path, 100)) == ErrorCode::kUnsupported);
  }
  CHECK(code(GgufFile::open(empty)) == ErrorCode::kTruncated);
  CHECK(code(QuernFile::open(dir.file("absent"))) == ErrorCode::kIo);
}
