#include "runtime/generation_defaults.h"

#include <algorithm>
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

/// The number of tokens under `key`, a whole number of at least 0.
void take_count(const Config& config, const char* key, std::int64_t less, std::int64_t& slot) {
  const auto value = config.integer(key);
  if (value.ok() && *value >= 0) slot = std::max<std::int64_t>(0, *value - less);
}

void read_beams(const Config& config, BeamOptions& beams) {
  constexpr std::int64_t kMostBeams = 64, kMostTokens = 64;
  beams.beams = 1;
  const auto number = config.integer("num_beams");
  if (number.ok() && *number >= 1 && *number <= kMostBeams)
    beams.beams = static_cast<std::int32_t>(*number);
  take_number(config, "length_penalty", -100.0, 100.0, beams.length_penalty);
  const auto early = config.boolean("early_stopping");
  if (early.ok()) beams.early_stopping = *early;
  const auto ngram = config.integer("no_repeat_ngram_size");
  if (ngram.ok() && *ngram >= 0 && *ngram <= kMostTokens)
    beams.no_repeat_ngram = static_cast<std::int32_t>(*ngram);
  // Lengths count the start token.
  take_count(config, "min_length", 1, beams.min_tokens);
  take_count(config, "min_new_tokens", 0, beams.min_tokens);
  take_count(config, "max_length", 1, beams.max_tokens);
  take_count(config, "max_new_tokens", 0, beams.max_tokens);
}

/// The token ids of a list; others become −1, which no token is.
std::vector<TokenId> ids_of(const formats::Json& list) {
  std::vector<TokenId> ids;
  for (const formats::Json& id : list) {
    const bool fits =
        id.is_integer() && id.integer() >= 0 && id.integer() <= std::numeric_limits<TokenId>::max();
    ids.push_back(fits ? static_cast<TokenId>(id.integer()) : -1);
  }
  return ids;
}

/// Tokens that never come: `suppress_tokens`, and the lists of one in `bad_words_ids`.
void read_banned(const formats::Json& document, GenerationDefaults& defaults) {
  const auto ban = [&](const formats::Json& id) {
    if (!id.is_integer()) return;
    const std::int64_t value = id.integer();
    if (value < 0 || value > std::numeric_limits<TokenId>::max()) return;
    defaults.beams.banned.push_back(static_cast<TokenId>(value));
    defaults.sampling.logit_bias.emplace_back(static_cast<TokenId>(value),
                                              -std::numeric_limits<float>::infinity());
  };
  for (const formats::Json& id : document["suppress_tokens"]) ban(id);
  for (const formats::Json& word : document["bad_words_ids"]) {
    if (word.size() == 1) ban(word[std::size_t{0}]);
    if (word.size() > 1) defaults.beam_rules.banned_runs.push_back(ids_of(word));
  }
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
  defaults.says_sampled = sampled.ok() && *sampled;
  read_beams(config, defaults.beams);
  const auto never = config.string("early_stopping");
  const auto again = config.boolean("renormalize_logits");
  defaults.beam_rules = {id_of(config, "forced_eos_token_id"),
                         never.ok() && *never == "never",
                         static_cast<double>(defaults.sampling.repeat_penalty),
                         again.ok() && *again,
                         ids_of(document["begin_suppress_tokens"]),
                         {}};
  read_banned(document, defaults);
  defaults.start_token = id_of(config, "decoder_start_token_id");
  defaults.second_token = id_of(config, "forced_bos_token_id");
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
