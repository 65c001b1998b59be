#include "convert/text_writer.h"

#include <memory>
#include <mutex>
#include <numeric>

#include "runtime/model_state.h"
#include "runtime/session_options.h"
#include "text/sampler.h"

namespace quern::convert {
namespace {

using States = std::vector<std::unique_ptr<backends::SequenceState>>;

/// Evaluates token `position` of every text, each in a state of its own.
Status step(backends::Program& program, std::mutex& run_mutex, const States& states,
            std::span<const std::vector<TokenId>> texts, std::size_t position) {
  std::vector<TokenId> tokens;
  std::vector<backends::SequenceState*> sequences;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    tokens.push_back(texts[i][position]);
    sequences.push_back(states[i].get());
  }
  const std::vector<std::int64_t> positions(texts.size(), static_cast<std::int64_t>(position));
  std::vector<std::int32_t> rows(texts.size());
  std::iota(rows.begin(), rows.end(), 0);
  backends::StepBinding binding;
  binding.tokens = tokens;
  binding.positions = positions;
  binding.sequences = sequences;
  binding.output_rows = rows;
  const std::lock_guard lock(run_mutex);
  return program.run(binding);
}

}  // namespace

SamplingOptions free_choice(std::uint64_t seed) {
  SamplingOptions options;
  options.temperature = 1.0F;
  options.top_k = 0;
  options.top_p = 1.0F;
  options.min_p = 0.0F;
  options.seed = seed;
  return options;
}

Status write_on(const Model& model, std::size_t length, std::uint64_t seed,
                std::span<std::vector<TokenId>> texts, ProgressMeter& meter) {
  const Model::State& state = model.state();
  SessionOptions wanted;
  wanted.context = static_cast<std::int64_t>(length);
  QUERN_TRY(options, runtime::resolve_session_options(state, wanted));
  backends::CompileOptions compile = runtime::compile_options(state, options);
  compile.max_rows = compile.max_outputs = static_cast<std::int64_t>(texts.size());
  QUERN_TRY(program, state.backend->compile(state.graph, compile));
  States states;
  std::vector<text::Sampler> samplers;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    QUERN_TRY(sequence, program->new_sequence(runtime::sequence_size(options)));
    states.push_back(std::move(sequence));
    QUERN_TRY(sampler, text::Sampler::create(free_choice(seed + i), state.vocab_size));
    samplers.push_back(std::move(sampler));
  }
  const auto vocab_size = static_cast<std::size_t>(state.vocab_size);
  for (std::size_t position = 0; position + 1 < length; ++position) {
    QUERN_CHECK(step(*program, *state.run_mutex, states, texts, position));
    QUERN_CHECK(meter.advance(0));
    if (position + 1 < texts.front().size()) continue;  // The next tokens are there already.
    const std::span<const float> logits = program->output("logits");
    for (std::size_t i = 0; i < texts.size(); ++i) {
      QUERN_TRY(id, samplers[i].sample(logits.subspan(i * vocab_size, vocab_size), texts[i]));
      texts[i].push_back(id);
    }
  }
  return {};
}

}  // namespace quern::convert
