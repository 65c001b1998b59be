/// \file
/// The generation section of a model: sampling defaults and end tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quern/beam_search.h"
#include "quern/result.h"
#include "quern/sampling.h"
#include "runtime/reply_rules.h"

namespace quern::runtime {

/// The tokens of fill-in-the-middle that a GGUF named; −1: none.
struct FillInIds {
  TokenId prefix = -1, suffix = -1, middle = -1;
};

struct GenerationDefaults {
  SamplingOptions sampling;         ///< SamplingOptions' own where the section says nothing.
  BeamOptions beams;                ///< Likewise, but for `beams`, which is then 1.
  ReplyRules rules;                 ///< Likewise.
  bool says_sampled = false;        ///< do_sample is true.
  std::vector<TokenId> end_tokens;  ///< In the order written.
  std::vector<std::string> stop;    ///< Texts that end a reply; none is empty.
  /// What a decoder's sequence begins with, and the token that must follow; −1: not said.
  TokenId start_token = -1, second_token = -1;
  FillInIds fill_in;
};

/// Reads the keys of a generation_config.json: do_sample, temperature, top_k, top_p, min_p,
/// repetition_penalty, eos_token_id and stop_strings (one or a list), decoder_start_token_id,
/// forced_bos_token_id, num_beams, num_return_sequences, length_penalty, early_stopping (true,
/// false or "never"), max_new_tokens, max_length, renormalize_logits; those of ReplyRules, which
/// hold with one beam and with many: no_repeat_ngram_size, encoder_no_repeat_ngram_size,
/// min_length, min_new_tokens, forced_eos_token_id, suppress_tokens, begin_suppress_tokens,
/// bad_words_ids, sequence_bias, encoder_repetition_penalty, exponential_decay_length_penalty;
/// fim_prefix_token_id, fim_suffix_token_id, fim_middle_token_id. An empty text gives the defaults;
/// a value that a sampler would refuse is passed over, because a reply must not fail for a
/// published default. Errors: kMalformed, kLimit for text that is no JSON object. `file` names the
/// container.
Result<GenerationDefaults> read_generation_defaults(std::string_view json, std::string_view file);

}  // namespace quern::runtime
