#include "runtime/generation_defaults.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "formats/json.h"

namespace quern::runtime {
namespace {

/// Sets `slot` to the number under `key` where it lies in [low, high].
void take_number(const Config& config, const char* key, double low, double high, float& slot) {
  const auto value = config.number(key);
  if (value.ok() && *value >= low && *value <= high) slot = static_cast<float>(*value);
}

TokenId id_of(const Config& config, const char* key) {
  const auto id = config.integer(key);
  return id.ok() && *id >= 0 && *id <= std::numeric_limits<TokenId>::max()
             ? static_cast<TokenId>(*id)
             : -1;
}

}  // namespace

Result<GenerationDefaults> read_generation_defaults(std::string_view json, std::string_view file) {
  GenerationDefaults defaults;
  if (json.empty()) return defaults;
  QUERN_TRY(document, formats::parse_json(json, file, {}, true));
  QUERN_TRY(config, formats::flatten_json(document, file));
  take_number(config, "temperature", 0.0, 1e3, defaults.sampling.temperature);
  take_number(config, "top_p", 1e-6, 1.0, defaults.sampling.top_p);
  take_number(config, "min_p", 0.0, 1.0, defaults.sampling.min_p);
  take_number(config, "repetition_penalty", 1e-3, 1e3, defaults.sampling.repeat_penalty);
  const auto top_k = config.integer("top_k");
  if (top_k.ok() && *top_k >= 0 && *top_k <= std::numeric_limits<std::int32_t>::max())
    defaults.sampling.top_k = static_cast<std::int32_t>(*top_k);
  const auto sampled = config.boolean("do_sample");
  if (sampled.ok() && !*sampled) defaults.sampling.temperature = 0.0F;
  for (const ConfigValue& value : config.list("eos_token_id")) {
    const auto* id = std::get_if<std::int64_t>(&value);
    if (id != nullptr && *id >= 0 && *id <= std::numeric_limits<TokenId>::max())
      defaults.end_tokens.push_back(static_cast<TokenId>(*id));
  }
  defaults.fill_in = {id_of(config, "fim_prefix_token_id"), id_of(config, "fim_suffix_token_id"),
                      id_of(config, "fim_middle_token_id")};
  return defaults;
}

}  // namespace quern::runtime
