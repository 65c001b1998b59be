#include "convert/text_writer.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>

#include "runtime/model_state.h"
#include "runtime/session_options.h"
#include "text/sampler.h"

namespace quern::convert {
namespace {

using States = std::vector<std::unique_ptr<backends::SequenceState>>;

/// One step's bindings, a row for every text: made once, filled for every token.
class StepRows {
 public:
  explicit StepRows(const States& states)
      : tokens_(states.size()), positions_(states.size()), rows_(states.size()) {
    for (const auto& state : states) sequences_.push_back(state.get());
    std::iota(rows_.begin(), rows_.end(), 0);
    binding_.tokens = tokens_;
    binding_.positions = positions_;
    binding_.sequences = sequences_;
    binding_.output_rows = rows_;
  }
  StepRows(const StepRows&) = delete;

  /// Evaluates token `position` of every text.
  Status run(backends::Program& program, std::mutex& run_mutex,
             std::span<const std::vector<TokenId>> texts, std::size_t position) {
    for (std::size_t i = 0; i < texts.size(); ++i) tokens_[i] = texts[i][position];
    std::fill(positions_.begin(), positions_.end(), static_cast<std::int64_t>(position));
    const std::lock_guard lock(run_mutex);
    return program.run(binding_);
  }

 private:
  std::vector<TokenId> tokens_;
  std::vector<std::int64_t> positions_;
  std::vector<std::int32_t> rows_;
  std::vector<backends::SequenceState*> sequences_;
  backends::StepBinding binding_;
};

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
  StepRows rows(states);
  for (std::vector<TokenId>& text : texts) text.reserve(length);
  const auto vocab_size = static_cast<std::size_t>(state.vocab_size);
  for (std::size_t position = 0; position + 1 < length; ++position) {
    QUERN_CHECK(rows.run(*program, *state.run_mutex, texts, position));
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
