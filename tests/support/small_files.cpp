#include "support/small_files.h"

#include <array>

#include "formats/checksum.h"
#include "formats/quern_writer.h"

namespace quern::testing {

using formats::append_le;
using formats::as_bytes;
using formats::as_text;
using formats::load_le;
using formats::xxh64;

namespace {

template <class T>
void scalar(ByteBuilder& out, const std::string& key, std::uint32_t type, T value) {
  out.string("key", key).number<std::uint32_t>("type of " + key, type);
  out.number("value of " + key, value, true);
}

template <class T>
void array(ByteBuilder& out, const std::string& key, std::uint32_t type, std::vector<T> values) {
  out.string("key", key).number<std::uint32_t>("type of " + key, 9);
  out.number("element type of " + key, type)
      .number<std::uint64_t>("count of " + key, values.size());
  for (const T value : values) out.number("element of " + key, value, true);
}

void tensor(ByteBuilder& out, const std::string& name, std::vector<std::uint64_t> ne,
            std::uint32_t type, std::uint64_t offset) {
  out.string("tensor name", name);
  out.number("n_dims of " + name, static_cast<std::uint32_t>(ne.size()));
  for (const std::uint64_t extent : ne) out.number("extent of " + name, extent);
  out.number("type of " + name, type).number("offset of " + name, offset);
}

void put_u64(std::string& bytes, std::size_t at, std::uint64_t value) {
  if (at + 8 <= bytes.size()) bytes = with_field(std::move(bytes), at, 8, value);
}

std::uint64_t get_u64(const std::string& bytes, std::size_t at) {
  return at + 8 <= bytes.size() ? load_le<std::uint64_t>(as_bytes(bytes).data() + at) : 0;
}

}  // namespace

SmallGguf small_gguf() {
  SmallGguf out;
  ByteBuilder& b = out.front;
  b.number<std::uint32_t>("magic", 0x46554747).number<std::uint32_t>("version", 3);
  b.number<std::uint64_t>("n_tensors", 3).number<std::uint64_t>("n_kv", 19);
  b.string("key", "general.architecture").number<std::uint32_t>("type of architecture", 8);
  b.string("architecture", "llama");
  scalar<std::uint32_t>(b, "general.alignment", 4, 64);
  scalar<std::uint8_t>(b, "t.u8", 0, 200);
  scalar<std::int8_t>(b, "t.i8", 1, -100);
  scalar<std::uint16_t>(b, "t.u16", 2, 60000);
  scalar<std::int16_t>(b, "t.i16", 3, -30000);
  scalar<std::uint32_t>(b, "t.u32", 4, 4000000000u);
  scalar<std::int32_t>(b, "t.i32", 5, -2000000000);
  scalar<float>(b, "t.f32", 6, 1e-5f);
  scalar<std::uint8_t>(b, "t.bool", 7, 1);
  scalar<std::uint64_t>(b, "t.u64", 10, ~std::uint64_t{0});
  scalar<std::int64_t>(b, "t.i64", 11, -5);
  scalar<double>(b, "t.f64", 12, 0.1);
  b.string("key", "tokenizer.ggml.tokens").number<std::uint32_t>("type of tokens", 9);
  b.number<std::uint32_t>("element type of tokens", 8).number<std::uint64_t>("count of tokens", 3);
  b.string("token", "<s>")
      .string("token", "")
      .string("token",
              "\xe2\x96\x81"
              "a");
  array<float>(b, "tokenizer.ggml.scores", 6, {0.f, -1.f, -2.5f});
  array<std::int32_t>(b, "tokenizer.ggml.token_type", 5, {3, 1, 1});
  array<std::uint8_t>(b, "t.bools", 7, {1, 0});
  array<std::uint64_t>(b, "t.u64s", 10, {7});
  array<double>(b, "t.f64s", 12, {2.5});
  tensor(b, "a.weight", {5}, 0, 0);
  tensor(b, "b.weight", {32, 2}, 2, 64);
  tensor(b, "c.weight", {3, 1, 2}, 1, 128);
  b.pad(64);
  out.data_offset = b.bytes.size();
  out.bytes = b.bytes;
  for (int i = 0; i < 128 + 12; ++i) out.bytes += static_cast<char>(i);
  out.data_end = out.bytes.size();
  while (out.bytes.size() % 64 != 0) out.bytes += '\0';
  return out;
}

std::string gguf_with(std::uint64_t n_tensors, std::uint64_t n_kv, std::string_view body) {
  std::string bytes = "GGUF";
  append_le<std::uint32_t>(bytes, 3);
  append_le(bytes, n_tensors);
  append_le(bytes, n_kv);
  bytes.append(body);
  return bytes;
}

std::string safetensors_with(std::string_view header, std::size_t data_bytes) {
  std::string bytes;
  append_le<std::uint64_t>(bytes, header.size());
  bytes.append(header);
  bytes.append(data_bytes, '\7');
  return bytes;
}

std::string small_safetensors_header() {
  return R"({"__metadata__":{"format":"pt"},)"
         R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
         R"("b":{"dtype":"BF16","shape":[6],"data_offsets":[16,28]}})";
}

std::string small_quern(bool late) {
  formats::MemorySink sink;
  auto writer = formats::QuernWriter::to_sink(sink, R"({"architecture":"tiny","dim":4})");
  if (!writer.ok()) return {};
  auto& w = *writer;
  using formats::Section;
  bool ok = w.set_section(Section::kTokenizer, "tokenizer image").ok();
  ok &= w.set_section(Section::kTemplate, "{{ messages[0].content }}").ok();
  ok &= w.set_section(Section::kGeneration, R"({"temperature":0.5})").ok();
  const std::array<std::uint64_t, 1> norm{5};
  const std::array<std::uint64_t, 2> matrix{3, 64}, panel{17, 2};
  ok &= w.declare_tensor("norm", Encoding::kF32, Layout::kPlain, norm).ok();
  ok &= w.declare_tensor("attn.q", Encoding::kQ8_0, Layout::kPanel16, matrix).ok();
  ok &= w.declare_tensor("mlp.up", Encoding::kF16, Layout::kPanel16, panel).ok();
  ok &= w.begin().ok();
  while (ok && w.wanted_bytes() != 0) {
    const std::string data(static_cast<std::size_t>(w.wanted_bytes()), '\x5a');
    ok &= w.write(as_bytes(data)).ok();
  }
  if (late) {
    ok &= w.set_section(Section::kReport, R"({"q8_0":1})").ok();
    ok &= w.set_section(Section::kSelfTest, "self-test").ok();
    ok &= w.set_section(Section::kCache, R"({"kv":4})").ok();
  }
  ok &= w.finish().ok();
  return ok ? std::string(as_text(sink.bytes())) : std::string();
}

std::string reseal_quern(std::string bytes) {
  using namespace formats;
  if (bytes.size() < kQuernFrontBytes) return bytes;
  const auto part = [&](std::uint64_t offset, std::uint64_t size) {
    const bool inside = offset <= bytes.size() && size <= bytes.size() - offset;
    return inside ? as_bytes(bytes).subspan(static_cast<std::size_t>(offset),
                                            static_cast<std::size_t>(size))
                  : std::span<const std::byte>();
  };
  for (std::size_t at = kQuernHeaderBytes; at + 32 <= kQuernFrontBytes; at += 32) {
    const std::uint64_t kind = get_u64(bytes, at) & 0xffffffff;
    if (kind != static_cast<std::uint32_t>(Section::kIndex)) continue;
    const auto index = part(get_u64(bytes, at + 8), get_u64(bytes, at + 16));
    put_u64(bytes, at + 24, xxh64(index));
  }
  // Both slots of the tail, where the header says the body ends.
  const std::uint64_t body = get_u64(bytes, 16);
  for (const std::uint64_t slot : {body, body + kQuernTailSlotBytes}) {
    const auto covered = part(slot, kQuernTailSlotBytes - 8);
    if (!covered.empty() && slot < bytes.size()) {
      put_u64(bytes, static_cast<std::size_t>(slot) + 56, xxh64(covered));
    }
  }
  put_u64(bytes, 32, xxh64(part(kQuernHeaderBytes, kQuernFrontBytes - kQuernHeaderBytes)));
  put_u64(bytes, 56, xxh64(part(0, kQuernHeaderBytes - 8)));
  return bytes;
}

}  // namespace quern::testing
