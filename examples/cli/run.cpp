// quern run: completes or answers one prompt.
#include <memory>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "quern/conversation.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct RunOptions {
  ModelFlags model;
  GenerationFlags generation;
  TraceFlags trace;
  std::string prompt, system;
  bool raw = false, json = false;
};

/// The prompt's ids: through the chat template where the model has one.
Result<std::vector<TokenId>> prompt_ids(const Model& model, const RunOptions& options,
                                        const std::string& text) {
  const bool templated = !options.raw && !model.chat_template().empty();
  if (!templated) {
    if (!options.system.empty())
      return Error(ErrorCode::kMissing, "without a chat template there is no system message")
          .in_file(model.path())
          .of("--system");
    return model.encode(text);
  }
  Conversation conversation;
  if (!options.system.empty()) conversation.add("system", options.system);
  conversation.add("user", text);
  QUERN_TRY(prompt, model.render(conversation.json()));
  return model.encode(prompt);
}

Json report(const Model& model, const Session& session, const RunOptions& options,
            const Generated& reply) {
  const GenerateStats& stats = reply.stats;
  const double seconds = stats.decode_ms / 1000.0;
  Json json;
  json["text"] = reply.text;
  json["ids"] = reply.ids;
  json["finish_reason"] = reason_name(reply.reason);
  json["prompt_tokens"] = stats.prompt_tokens;
  json["cached_tokens"] = stats.cached_tokens;
  json["generated_tokens"] = stats.generated_tokens;
  json["guessed_tokens"] = stats.guessed_tokens;
  json["accepted_tokens"] = stats.accepted_tokens;
  json["prefill_ms"] = stats.prefill_ms;
  json["decode_ms"] = stats.decode_ms;
  json["tokens_per_second"] =
      seconds > 0 ? static_cast<double>(stats.generated_tokens) / seconds : 0.0;
  json["seed"] = options.generation.seed;
  json["model"] = shown_path(model.path());
  json["isa"] = model.isa();
  json["threads"] = model.threads();
  json["kv"] = kv_name(session.kv());
  json["fast"] = options.model.fast;
  return json;
}

/// The best hypothesis of a beam search as a reply.
Result<Generated> search(Session& session, std::span<const TokenId> prompt,
                         const RunOptions& options) {
  BeamOptions beams = options.generation.beam_options(session.model());
  beams.cancel = &InterruptScope::flag();
  QUERN_TRY(found, session.beam_search(prompt, beams));
  Hypothesis& best = found.front();
  if (!options.json) put(best.text);
  Generated reply;
  reply.stats.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  reply.stats.generated_tokens = static_cast<std::int64_t>(best.ids.size());
  reply.reason = best.finished ? FinishReason::kStop : FinishReason::kLength;
  if (interrupted()) reply.reason = FinishReason::kCancelled;
  reply.text = std::move(best.text);
  reply.ids = std::move(best.ids);
  return reply;
}

Result<Generated> reply_to(Session& session, const std::vector<TokenId>& ids,
                           const RunOptions& options) {
  GenerateOptions generate = options.generation.options(session.model());
  generate.cancel = &InterruptScope::flag();
  if (!options.json) generate.on_text = [](std::string_view text) { return put(text); };
  const InterruptScope scope;
  std::span<const TokenId> prompt = ids;
  if (session.model().is_encoder_decoder()) {
    QUERN_CHECK(session.read_source(ids));
    prompt = session.model().decoder_start();
    if (prompt.empty())
      return Error(ErrorCode::kMissing, "the checkpoint does not say what its decoder begins with")
          .in_file(session.model().path())
          .of("decoder_start_token_id");
  }
  if (options.generation.searches(session.model())) return search(session, prompt, options);
  return session.generate(prompt, generate);
}

int run(const RunOptions& options) {
  if (stdin_twice({options.model.path, options.prompt}))
    return usage("MODEL and the prompt cannot both be stdin");
  std::string prompt = options.prompt;
  if (prompt == "-") {
    auto input = read_input("-");
    if (!input.ok()) return fail(input.error());
    prompt = std::move(*input);
  }
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto ids = prompt_ids(*model, options, prompt);
  if (!ids.ok()) return fail(ids.error());
  SessionOptions session_options;
  session_options.context = options.generation.context;
  session_options.kv = options.model.kv_type();
  if (options.generation.searches(*model))
    session_options.output_rows = options.generation.beam_options(*model).beams;
  session_options.trace_events = options.trace.events();
  auto session = Session::create(*model, session_options);
  if (!session.ok()) return fail(session.error());
  const auto reply = reply_to(*session, *ids, options);
  if (!reply.ok()) {
    if (!options.json) put("\n");
    return fail(reply.error());
  }
  if (options.json)
    put(to_text(report(*model, *session, options, *reply)) + "\n");
  else if (reply->text.empty() || reply->text.back() != '\n')
    put("\n");
  if (reply->reason == FinishReason::kContextFull && !options.json)
    tell("the reply was cut off because the context of " + std::to_string(session->context()) +
         " tokens is full");
  const Status traced = options.trace.report(*session);
  if (!traced.ok()) return fail(traced.error());
  const int status = finish_stdout();
  return interrupted() ? kInterrupted : status;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Completes or answers a prompt");
  options->model.add_to(*command);
  command->add_option("-p,--prompt", options->prompt, "The prompt; - reads stdin")->required();
  CLI::Option* system = command->add_option("--system", options->system, "System message");
  command->add_flag("--raw", options->raw, "Does not apply the chat template")->excludes(system);
  options->generation.add_to(*command);
  options->generation.add_beams_to(*command);
  options->trace.add_to(*command);
  command->add_flag("--json", options->json, "One JSON document instead of streamed text");
  command->footer(
      "Example:\n  quern run smollm2.quern -p \"Why is the sky blue?\" -n 100 --temp 0.7 --seed 1");
  on_chosen(command, options, action, run);
}

}  // namespace quern::cli
