#include "formats/self_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/checksum.h"
#include "formats/json.h"
#include "formats/section_fields.h"

namespace quern::formats {
namespace {

constexpr std::size_t kMaxEntries = 4096;
constexpr std::size_t kMaxIds = 1u << 20;

std::string hex64(std::uint64_t value) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) {
    text[static_cast<std::size_t>(i)] = "0123456789abcdef"[value & 15];
  }
  return text;
}

Result<std::vector<std::int32_t>> read_ids(const SectionFields& in, const char* key) {
  QUERN_TRY(values, in.list(key, kMaxIds));
  std::vector<std::int32_t> out;
  out.reserve(values->size());
  for (const Json& value : *values) {
    if (!value.is_unsigned() || value.unsigned_integer() > 0x7FFFFFFFu)
      return in.malformed(key, "token ids");
    out.push_back(static_cast<std::int32_t>(value.unsigned_integer()));
  }
  return out;
}

Result<SelfTest::Text> read_text(const SectionFields& in) {
  QUERN_TRY(text, in.text("text"));
  QUERN_TRY(add_special, in.boolean("add_special"));
  QUERN_TRY(parse_special, in.boolean("parse_special"));
  QUERN_TRY(ids, read_ids(in, "ids"));
  QUERN_TRY(decoded, in.text("decoded"));
  return SelfTest::Text{std::move(text), add_special, parse_special, std::move(ids),
                        std::move(decoded)};
}

Result<SelfTest::Rendering> read_rendering(const SectionFields& in) {
  QUERN_TRY(conversation, in.text("conversation"));
  QUERN_TRY(now, in.text("now"));
  QUERN_TRY(text, in.text("text"));
  return SelfTest::Rendering{std::move(conversation), std::move(now), std::move(text)};
}

Result<SelfTest::Logits> read_logits(const SectionFields& in) {
  SelfTest::Logits out;
  QUERN_TRY(prompt, read_ids(in, "prompt"));
  QUERN_TRY(kv, in.whole("kv", static_cast<std::uint64_t>(KvType::kF32),
                         static_cast<std::uint64_t>(KvType::kQ4)));
  QUERN_TRY(hash, in.hash("hash"));
  QUERN_TRY(top, in.list("top", kMaxEntries));
  for (const Json& pair : *top) {
    const SectionFields entry = in.child(pair);
    QUERN_TRY(id, entry.whole("id", 0, 0x7FFFFFFFu));
    QUERN_TRY(bits, entry.whole("bits", 0, std::numeric_limits<std::uint32_t>::max()));
    out.top.push_back({static_cast<std::int32_t>(id), static_cast<std::uint32_t>(bits)});
  }
  out.prompt = std::move(prompt);
  out.kv = static_cast<KvType>(kv);
  out.hash = hash;
  return out;
}

/// Reads the list `key` of `root` with `read` into `out`.
template <class T, class Read>
Status read_list(const SectionFields& root, const char* key, Read read, std::vector<T>& out) {
  QUERN_TRY(values, root.list(key, kMaxEntries));
  for (const Json& value : *values) {
    QUERN_TRY(entry, read(root.child(value)));
    out.push_back(std::move(entry));
  }
  return {};
}

}  // namespace

std::string write_self_test(const SelfTest& test) {
  Json root = Json::object();
  root["version"] = kSelfTestVersion;
  root["numerics"] = test.numerics;
  Json& texts = root["texts"] = Json::array();
  for (const auto& entry : test.texts) {
    texts.push_back({{"text", entry.text},
                     {"add_special", entry.add_special},
                     {"parse_special", entry.parse_special},
                     {"ids", entry.ids},
                     {"decoded", entry.decoded}});
  }
  Json& renderings = root["renderings"] = Json::array();
  for (const auto& entry : test.renderings) {
    renderings.push_back(
        {{"conversation", entry.conversation_json}, {"now", entry.now}, {"text", entry.text}});
  }
  Json& logits = root["logits"] = Json::array();
  for (const auto& entry : test.logits) {
    Json top = Json::array();
    for (const auto& [id, bits] : entry.top) top.push_back({{"id", id}, {"bits", bits}});
    logits.push_back({{"prompt", entry.prompt},
                      {"kv", static_cast<std::uint32_t>(entry.kv)},
                      {"hash", hex64(entry.hash)},
                      {"top", std::move(top)}});
  }
  return dump_json(root);
}

Result<SelfTest> read_self_test(std::span<const std::byte> section, std::string_view file) {
  SelfTest out;
  if (section.empty()) return out;
  JsonLimits limits;
  limits.max_bytes = kMaxSelfTestBytes;
  QUERN_TRY(root, parse_json(as_text(section), file, limits));
  const SectionFields in(root, "the self-test", file);
  QUERN_CHECK(in.check_version(kSelfTestVersion));
  if (root.contains("numerics")) {
    QUERN_TRY(numerics, in.whole("numerics", 1, std::numeric_limits<std::uint32_t>::max()));
    out.numerics = static_cast<std::uint32_t>(numerics);
  }
  QUERN_CHECK(read_list(in, "texts", read_text, out.texts));
  QUERN_CHECK(read_list(in, "renderings", read_rendering, out.renderings));
  QUERN_CHECK(read_list(in, "logits", read_logits, out.logits));
  return out;
}

std::uint64_t hash_logits(std::span<const float> logits) {
  if constexpr (std::endian::native == std::endian::little) return xxh64(std::as_bytes(logits));
  Xxh64 hash;
  for (const float value : logits) {
    std::byte raw[4];
    store_le(raw, value);
    hash.add(raw);
  }
  return hash.digest();
}

std::vector<SelfTest::Logits::Top> top_logits(std::span<const float> row) {
  std::vector<std::int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](std::int32_t id) {
    const float x = row[static_cast<std::size_t>(id)];
    return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x;
  };
  const std::size_t n = std::min(kSelfTestTop, row.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      return value(a) != value(b) ? value(a) > value(b) : a < b;
                    });
  std::vector<SelfTest::Logits::Top> top(n);
  for (std::size_t i = 0; i < n; ++i) {
    top[i] = {order[i], std::bit_cast<std::uint32_t>(row[static_cast<std::size_t>(order[i])])};
  }
  return top;
}

}  // namespace quern::formats
