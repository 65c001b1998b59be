#include "convert/generation_keys.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "formats/byte_reader.h"

namespace quern::convert {
namespace {

using formats::Json;

/// What runtime/generation_defaults.h reads as a number, and the numbers that it takes.
struct NumberKey {
  std::string_view key;
  double low, high;
};
constexpr double kMostTokens = 1e9;
constexpr NumberKey kNumbers[] = {
    {"temperature", 0, 1e3},
    {"top_k", 0, std::numeric_limits<std::int32_t>::max()},
    {"top_p", 1e-6, 1},
    {"min_p", 0, 1},
    {"repetition_penalty", 1e-3, 1e3},
    {"encoder_repetition_penalty", 1e-3, 1e3},
    {"num_beams", 1, 64},
    {"num_return_sequences", 1, 64},
    {"length_penalty", -100, 100},
    {"no_repeat_ngram_size", 0, 64},
    {"encoder_no_repeat_ngram_size", 0, 64},
    {"min_length", 0, kMostTokens},
    {"min_new_tokens", 0, kMostTokens},
    {"max_length", 0, kMostTokens},
    {"max_new_tokens", 0, kMostTokens},
};

/// What is read and has a form of its own.
constexpr std::string_view kOthers[] = {
    "bos_token_id",        "eos_token_id",        "pad_token_id",
    "do_sample",           "early_stopping",      "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens",
    "bad_words_ids",       "sequence_bias",       "begin_suppress_tokens",
    "renormalize_logits",  "fim_prefix_token_id", "exponential_decay_length_penalty",
    "fim_suffix_token_id", "fim_middle_token_id", "stop_strings"};

/// What says how a reply is computed or handed over, not which one it is.
constexpr std::string_view kHarmless[] = {"transformers_version",
                                          "use_cache",
                                          "cache_implementation",
                                          "cache_config",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "output_scores",
                                          "output_logits",
                                          "return_dict_in_generate",
                                          "return_legacy_cache",
                                          "prefill_chunk_size",
                                          "compile_config",
                                          "disable_compile",
                                          "low_memory",
                                          "num_assistant_tokens",
                                          "num_assistant_tokens_schedule",
                                          "assistant_confidence_threshold",
                                          "assistant_early_exit",
                                          "assistant_lookbehind",
                                          "target_lookbehind",
                                          "prompt_lookup_num_tokens",
                                          "max_matching_ngram_size",
                                          "is_assistant",
                                          "use_mtp",
                                          "continuous_batching_config",
                                          "trust_remote_code"};

/// What changes replies and is not implemented, with the number at which it changes nothing.
struct MissingKey {
  std::string_view key;
  double off;
};
constexpr MissingKey kMissing[] = {{"typical_p", 1},
                                   {"epsilon_cutoff", 0},
                                   {"eta_cutoff", 0},
                                   {"top_h", 0},
                                   {"guidance_scale", 1},
                                   {"penalty_alpha", 0},
                                   {"diversity_penalty", 0},
                                   {"num_beam_groups", 1},
                                   {"dola_layers", 0},
                                   {"constraints", 0},
                                   {"force_words_ids", 0},
                                   {"forced_decoder_ids", 0},
                                   {"max_time", 0},
                                   {"token_healing", 0},
                                   {"watermarking_config", 0},
                                   {"remove_invalid_values", 0}};

template <class Table>
bool has_key(const Table& table, std::string_view key) {
  return std::find(std::begin(table), std::end(table), key) != std::end(table);
}

/// Null, false, nothing in it, or the number at which the key says nothing.
bool is_off(const Json& value, double off) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.boolean();
  if (value.is_number()) return value.number() == off;
  return (value.is_array() || value.is_object()) && value.empty();
}

Error bad_value(std::string_view key, const Json& value, const std::string& file,
                std::string want) {
  return Error(ErrorCode::kOutOfRange,
               "a setting of the generation has a value that it cannot have")
      .in_file(file)
      .of(std::string(key))
      .want(std::move(want))
      .got(formats::dump_json(value).substr(0, 64));
}

std::string range_text(const NumberKey& row) {
  std::string low = std::to_string(row.low), high = std::to_string(row.high);
  for (std::string* text : {&low, &high}) {
    text->erase(text->find_last_not_of('0') + 1);
    if (text->back() == '.') text->pop_back();
  }
  return low + " to " + high;
}

/// \param known whether any table has the key.
Status check_key(std::string_view key, const Json& value, const std::string& file, bool& known) {
  known = has_key(kOthers, key) || has_key(kHarmless, key) || key.starts_with("_");
  for (const NumberKey& row : kNumbers) {
    if (row.key != key) continue;
    known = true;
    const bool fits = value.is_null() || (value.is_number() && value.number() >= row.low &&
                                          value.number() <= row.high);
    if (!fits) return bad_value(key, value, file, range_text(row));
  }
  for (const MissingKey& row : kMissing) {
    if (row.key != key) continue;
    known = true;
    if (is_off(value, row.off)) continue;
    return Error(ErrorCode::kUnsupported, "a setting of the generation is not implemented")
        .in_file(file)
        .of(std::string(key))
        .got(formats::dump_json(value).substr(0, 64));
  }
  return {};
}

/// A length after which the end grows likelier, and a factor.
Status check_decay(const Json& value, const std::string& file) {
  if (value.is_null()) return {};
  const bool fits = value.is_array() && value.size() == 2 && value[std::size_t{0}].is_integer() &&
                    value[std::size_t{0}].integer() >= 0 && value[std::size_t{1}].is_number() &&
                    value[std::size_t{1}].number() > 0 && value[std::size_t{1}].number() < 1e3;
  if (fits) return {};
  return bad_value("exponential_decay_length_penalty", value, file,
                   "a number of tokens and a factor below 1000");
}

/// Pairs of a list of ids and a number.
Status check_bias(const Json& value, const std::string& file) {
  if (value.is_null()) return {};
  bool fits = value.is_array();
  for (std::size_t i = 0; fits && i < value.size(); ++i) {
    const Json& row = value[i];
    fits = row.is_array() && row.size() == 2 && row[std::size_t{0}].is_array() &&
           !row[std::size_t{0}].empty() && row[std::size_t{1}].is_number();
  }
  if (fits) return {};
  return bad_value("sequence_bias", value, file, "a list of pairs: ids, a number");
}

/// A text or a list of texts.
Status check_stops(const Json& value, const std::string& file) {
  if (value.is_null()) return {};
  bool fits = value.is_array() || value.is_string();
  if (value.is_string()) fits = !value.string().empty();
  for (std::size_t i = 0; fits && value.is_array() && i < value.size(); ++i)
    fits = value[i].is_string() && !value[i].string().empty();
  if (fits) return {};
  return bad_value("stop_strings", value, file, "a text or a list of texts, none of them empty");
}

}  // namespace

Status check_generation_keys(const Json& generation, const std::string& file,
                             std::vector<std::string>& notes) {
  if (!generation.is_object()) return {};
  std::string strangers;
  for (const formats::JsonMember& item : generation.items()) {
    bool known = false;
    QUERN_CHECK(check_key(item.key, item.value, file, known));
    if (!known) strangers += (strangers.empty() ? "" : ", ") + formats::quote(item.key);
  }
  QUERN_CHECK(check_decay(generation["exponential_decay_length_penalty"], file));
  QUERN_CHECK(check_bias(generation["sequence_bias"], file));
  QUERN_CHECK(check_stops(generation["stop_strings"], file));
  if (!strangers.empty())
    notes.push_back("what generation_config.json says here is not known and has no effect: " +
                    strangers);
  return {};
}

Json generation_of_config(const Json& config) {
  Json generation = Json::object();
  const auto take = [&](std::string_view name) {
    const std::string key(name);
    const Json* at = config.find(key.c_str());
    if (at != nullptr && !at->is_null()) generation[key.c_str()] = *at;
  };
  for (const NumberKey& row : kNumbers) take(row.key);
  for (const std::string_view key : kOthers) take(key);
  for (const MissingKey& row : kMissing) take(row.key);
  return generation;
}

}  // namespace quern::convert
