#include "formats/cache_choice.h"

#include <limits>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/quern_layout.h"
#include "formats/section_fields.h"

namespace quern::formats {

std::string write_cache_choice(const CacheChoice& choice) {
  return dump_json({{"version", kCacheChoiceVersion},
                    {"kv", static_cast<std::uint32_t>(choice.kv)},
                    {"tokens", static_cast<std::uint64_t>(choice.tokens)},
                    {"kl_divergence", {{"f16", choice.f16}, {"q8", choice.q8}}}});
}

Result<CacheChoice> read_cache_choice(std::span<const std::byte> section, std::string_view file) {
  JsonLimits limits;
  limits.max_bytes = kQuernMaxCacheBytes;
  QUERN_TRY(root, parse_json(as_text(section), file, limits));
  const SectionFields in(root, "the cache section", file);
  QUERN_CHECK(in.check_version(kCacheChoiceVersion));
  CacheChoice choice;
  QUERN_TRY(kv, in.whole("kv", static_cast<std::uint64_t>(KvType::kF32),
                         static_cast<std::uint64_t>(KvType::kQ4)));
  QUERN_TRY(tokens, in.whole("tokens", 0, std::numeric_limits<std::int32_t>::max()));
  QUERN_TRY(divergence, in.find("kl_divergence"));
  const SectionFields measured = in.child(*divergence);
  QUERN_TRY(f16, measured.magnitude("f16"));
  QUERN_TRY(q8, measured.magnitude("q8"));
  choice.kv = static_cast<KvType>(kv);
  choice.tokens = static_cast<std::int64_t>(tokens);
  choice.f16 = f16;
  choice.q8 = q8;
  return choice;
}

}  // namespace quern::formats
