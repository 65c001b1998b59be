// Beam search over the sequences of a session: every hypothesis has a state of its own, which is
// copied where one splits.
#include <algorithm>
#include <string>
#include <utility>

#include "base/guard.h"
#include "runtime/beam_search.h"
#include "runtime/model_state.h"
#include "runtime/session_impl.h"
#include "runtime/session_options.h"

namespace quern {
namespace {

using States = std::vector<std::unique_ptr<backends::SequenceState>>;

/// Gives every hypothesis the state of its parent: the first child takes it, the others copy it
/// into states that nobody continues.
Status follow(const std::vector<runtime::BeamSearch::Beam>& beams, std::int64_t length,
              States& states) {
  States next(states.size());
  std::vector<std::size_t> copies;
  std::vector<std::size_t> owner(states.size(), beams.size());
  for (std::size_t i = 0; i < beams.size(); ++i) {
    const std::size_t parent = beams[i].parent;
    if (states[parent] != nullptr) {
      owner[parent] = i;
      next[i] = std::move(states[parent]);
    } else {
      copies.push_back(i);
    }
  }
  std::size_t spare = 0;
  const auto take_spare = [&] {
    while (states[spare] == nullptr) ++spare;
    return std::move(states[spare]);
  };
  for (const std::size_t i : copies) {
    next[i] = take_spare();
    QUERN_CHECK(next[i]->copy_from(*next[owner[beams[i].parent]], length));
  }
  for (std::unique_ptr<backends::SequenceState>& state : next) {
    if (state == nullptr) state = take_spare();
  }
  states = std::move(next);
  return {};
}

}  // namespace

Status Session::Impl::step_beams(const std::vector<TokenId>& ids, std::int64_t position,
                                 const States& states) {
  beam_sequences.resize(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    beam_sequences[i] = states[i].get();
    positions[i] = position;
    output_rows[i] = static_cast<std::int32_t>(i);
  }
  backends::StepBinding binding;
  binding.tokens = ids;
  binding.positions = std::span(positions).first(ids.size());
  binding.sequences = beam_sequences;
  binding.output_rows = std::span(output_rows).first(ids.size());
  const std::lock_guard lock(*run_mutex);
  return program->run(binding);
}

Result<std::vector<Hypothesis>> Session::Impl::beam_search(std::span<const TokenId> prompt,
                                                           const BeamOptions& search) {
  const Model::State& state = model.state();
  QUERN_CHECK(runtime::check_beam_options(search, state.vocab_size));
  QUERN_CHECK(runtime::check_stops(search.stop));
  QUERN_CHECK(check_ids(prompt));
  if (search.beams > options.output_rows)
    return Error(ErrorCode::kLimit, "the session was made for fewer hypotheses")
        .of("SessionOptions::output_rows")
        .want("at least " + std::to_string(search.beams))
        .got(std::to_string(options.output_rows));
  const std::int64_t room = options.context - static_cast<std::int64_t>(prompt.size());
  if (room < 0)
    return Error(ErrorCode::kLimit, "the prompt does not fit into the context")
        .of("context")
        .want("at most " + std::to_string(options.context) + " tokens")
        .got(std::to_string(prompt.size()));
  // A forced first token counts as one of the reply's; the last one needs no place of its own.
  const std::int64_t counted = forced_first(prompt.size());
  const std::int64_t wanted = std::max<std::int64_t>(search.max_tokens - counted, 0);
  const std::int64_t most = search.max_tokens < 0 ? room + 1 : std::min(wanted, room + 1);
  if (most == 0) return std::vector<Hypothesis>(1);
  QUERN_TRY(cached, adopt_prefix(prompt));
  QUERN_TRY(complete, append(prompt.subspan(static_cast<std::size_t>(cached)), search.cancel));
  const runtime::StopStrings stops(state.tokenizer ? &*state.tokenizer : nullptr,
                                   state.generation.stop, search.stop);
  runtime::BeamSearch beams(search, prompt, state.end_tokens, most, counted, state.generation.rules,
                            source_of(prompt), &stops);
  States states;
  auto position = static_cast<std::int64_t>(tokens.size());
  for (std::int32_t i = 0; i < search.beams; ++i) {
    QUERN_TRY(made, program->new_sequence(runtime::sequence_size(options)));
    states.push_back(std::move(made));
  }
  QUERN_CHECK(states.front()->copy_from(*sequence, position));
  const auto cancelled = [&] {
    return search.cancel != nullptr && search.cancel->load(std::memory_order_relaxed);
  };
  bool goes_on = complete && beams.advance(logits());
  while (goes_on && !cancelled()) {
    QUERN_CHECK(follow(beams.running(), position, states));
    std::vector<TokenId> last;
    for (const auto& beam : beams.running()) last.push_back(beam.ids.back());
    QUERN_CHECK(step_beams(last, position++, states));
    goes_on = beams.advance(logits());
  }
  std::vector<Hypothesis> best = beams.results();
  for (Hypothesis& hypothesis : best) {
    if (!model.has_tokenizer()) break;
    QUERN_TRY(text, model.decode(hypothesis.ids));
    hypothesis.text = stops.before_stop(std::move(text));
  }
  return best;
}

Result<std::vector<Hypothesis>> Session::beam_search(std::span<const TokenId> prompt,
                                                     const BeamOptions& options) {
  return base::guarded([&] { return impl_->beam_search(prompt, options); });
}

}  // namespace quern
