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

std::int32_t ngram_of(const Config& config, const char* key) {
  constexpr std::int64_t kMostTokens = 64;
  const auto n = config.integer(key);
  return n.ok() && *n >= 0 && *n <= kMostTokens ? static_cast<std::int32_t>(*n) : 0;
}

void read_beams(const Config& config, BeamOptions& beams) {
  constexpr std::int64_t kMostBeams = 64;
  beams.beams = 1;
  const auto number = config.integer("num_beams");
  if (number.ok() && *number >= 1 && *number <= kMostBeams)
    beams.beams = static_cast<std::int32_t>(*number);
  take_number(config, "length_penalty", -100.0, 100.0, beams.length_penalty);
  const auto early = config.boolean("early_stopping");
  if (early.ok()) beams.early_stopping = *early;
  const auto results = config.integer("num_return_sequences");
  if (results.ok() && *results >= 1 && *results <= beams.beams)
    beams.results = static_cast<std::int32_t>(*results);
  beams.no_repeat_ngram = ngram_of(config, "no_repeat_ngram_size");
  take_count(config, "min_new_tokens", 0, beams.min_tokens);
  // The length counts the start token.
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
/// A word that is an end token alone is no bad one, as transformers has it.
void read_banned(const formats::Json& document, GenerationDefaults& defaults) {
  const auto is_end = [&](const formats::Json& id) {
    const auto& ends = defaults.end_tokens;
    return id.is_integer() && std::any_of(ends.begin(), ends.end(), [&](TokenId end) {
             return std::int64_t{end} == id.integer();
           });
  };
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
    if (word.size() == 1 && !is_end(word[std::size_t{0}])) ban(word[std::size_t{0}]);
    if (word.size() > 1) defaults.rules.banned_runs.push_back(ids_of(word));
  }
}

TokenId id_of(const Config& config, const char* key) {
  const auto id = config.integer(key);
  return id.ok() && *id >= 0 && *id <= std::numeric_limits<TokenId>::max()
             ? static_cast<TokenId>(*id)
             : -1;
}

/// `sequence_bias`: pairs of a list of ids and what is added to the last one's score.
void read_run_bias(const formats::Json& document, ReplyRules& rules) {
  constexpr double kMostBias = 1e6;
  for (const formats::Json& row : document["sequence_bias"]) {
    if (row.size() != 2 || !row[std::size_t{1}].is_number()) continue;
    const double bias = row[std::size_t{1}].number();
    std::vector<TokenId> ids = ids_of(row[std::size_t{0}]);
    if (!ids.empty() && std::fabs(bias) <= kMostBias)
      rules.run_bias.emplace_back(std::move(ids), static_cast<float>(bias));
  }
}

/// What holds with one beam and with many.
void read_rules(const Config& config, const formats::Json& document, ReplyRules& rules) {
  rules.last_token = id_of(config, "forced_eos_token_id");
  const auto never = config.string("early_stopping");
  const auto again = config.boolean("renormalize_logits");
  rules.never_early = never.ok() && *never == "never";
  rules.renormalise = again.ok() && *again;
  rules.first_banned = ids_of(document["begin_suppress_tokens"]);
  rules.no_repeat_ngram = ngram_of(config, "no_repeat_ngram_size");
  rules.source_ngram = ngram_of(config, "encoder_no_repeat_ngram_size");
  take_count(config, "min_new_tokens", 0, rules.min_tokens);
  if (rules.min_tokens == 0) take_count(config, "min_length", 0, rules.min_length);
  float penalty = 1.0F;
  take_number(config, "encoder_repetition_penalty", 1e-3, 1e3, penalty);
  rules.source_penalty = static_cast<double>(penalty);
  const formats::Json& decay = document["exponential_decay_length_penalty"];
  if (decay.size() == 2 && decay[std::size_t{0}].is_integer() &&
      decay[std::size_t{1}].is_number() && decay[std::size_t{0}].integer() >= 0 &&
      decay[std::size_t{1}].number() > 0 && decay[std::size_t{1}].number() < 1e3) {
    rules.decay_after = decay[std::size_t{0}].integer();
    rules.decay_factor = decay[std::size_t{1}].number();
  }
  read_run_bias(document, rules);
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
  read_rules(config, document, defaults.rules);
  // The penalty sees the whole sequence, as the checkpoint's authors had it.
  defaults.rules.repeat_penalty = static_cast<double>(defaults.sampling.repeat_penalty);
  if (defaults.sampling.repeat_penalty != 1.0F) defaults.sampling.repeat_window = -1;
  defaults.start_token = id_of(config, "decoder_start_token_id");
  defaults.second_token = id_of(config, "forced_bos_token_id");
  for (const ConfigValue& value : config.list("eos_token_id")) {
    const auto* id = std::get_if<std::int64_t>(&value);
    if (id != nullptr && *id >= 0 && *id <= std::numeric_limits<TokenId>::max())
      defaults.end_tokens.push_back(static_cast<TokenId>(*id));
  }
  for (const ConfigValue& value : config.list("stop_strings")) {
    const auto* text = std::get_if<std::string>(&value);
    if (text != nullptr && !text->empty()) defaults.stop.push_back(*text);
  }
  read_banned(document, defaults);
  defaults.fill_in = {id_of(config, "fim_prefix_token_id"), id_of(config, "fim_suffix_token_id"),
                      id_of(config, "fim_middle_token_id")};
  return defaults;
}

}  // namespace quern::runtime
