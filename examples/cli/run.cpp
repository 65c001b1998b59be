// quern run: completes or answers one prompt.
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "quern/conversation.h"
#include "quern/fill_in.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct RunOptions {
  ModelFlags model;
  GenerationFlags generation;
  TraceFlags trace;
  std::string file, system;
  std::optional<std::string> prompt, prefix, suffix;
  bool raw = false, json = false;

  bool fills_in() const { return prefix || suffix; }
};

/// The text of -f and -p, in this order. Where nothing follows a file, the newline that editors put
/// at its end is no part of the prompt.
Result<std::string> prompt_text(const RunOptions& options) {
  std::string text;
  if (!options.file.empty()) {
    QUERN_TRY(file, read_input(options.file));
    text = std::move(file);
    if (!options.prompt && text.ends_with('\n')) text.pop_back();
    if (!options.prompt && text.ends_with('\r')) text.pop_back();
  }
  if (options.prompt != "-") return text + options.prompt.value_or("");
  QUERN_TRY(input, read_input("-"));
  return text + input;
}

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
  const auto start = std::chrono::steady_clock::now();
  QUERN_TRY(found, session.beam_search(prompt, beams));
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  Hypothesis& best = found.front();
  if (!options.json) put(best.text);
  Generated reply;
  reply.stats.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  reply.stats.generated_tokens = static_cast<std::int64_t>(best.ids.size());
  reply.stats.decode_ms = spent.count();  // As a whole: its parts are not timed apart.
  reply.reason = best.finished ? FinishReason::kStop : FinishReason::kLength;
  if (interrupted()) reply.reason = FinishReason::kCancelled;
  reply.text = std::move(best.text);
  reply.ids = std::move(best.ids);
  return reply;
}

/// What a reply follows: the prompt, or what stands around it.
Result<FillInPrompt> read_prompt(const Model& model, const RunOptions& options) {
  if (options.fills_in())
    return fill_in_prompt(model, options.prefix.value_or(""), options.suffix.value_or(""));
  QUERN_TRY(text, prompt_text(options));
  QUERN_TRY(ids, prompt_ids(model, options, text));
  if (ids.empty() && model.can_run())
    return Error(ErrorCode::kInvalidArgument, "the prompt is empty")
        .of("--prompt")
        .want("at least one token");
  return FillInPrompt{std::move(ids), {}};
}

/// \param shown becomes whether stdout has got any text.
Result<Generated> reply_to(Session& session, const FillInPrompt& prompt, const RunOptions& options,
                           bool& shown) {
  GenerateOptions generate = options.generation.options(session.model());
  generate.end_tokens = prompt.end_tokens;
  generate.cancel = &InterruptScope::flag();
  if (!options.json)
    generate.on_text = [&shown](std::string_view text) {
      shown = true;
      return put(text);
    };
  const InterruptScope scope;
  std::span<const TokenId> ids = prompt.ids;
  if (session.model().is_encoder_decoder()) {
    QUERN_CHECK(session.read_source(prompt.ids));
    ids = session.model().decoder_start();
    if (ids.empty())
      return Error(ErrorCode::kMissing, "the checkpoint does not say what its decoder begins with")
          .in_file(session.model().path())
          .of("decoder_start_token_id");
  }
  if (options.generation.searches(session.model())) return search(session, ids, options);
  return session.generate(ids, generate);
}

int run(const RunOptions& options) {
  if (stdin_twice({options.model.path, options.prompt.value_or(""), options.file}))
    return usage("MODEL and the prompt cannot both be stdin");
  if (!options.prompt && options.file.empty() && !options.fills_in())
    return usage(
        "a prompt is missing: -p TEXT, -f FILE (- is stdin), or --prefix TEXT with --suffix TEXT");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto prompt = read_prompt(*model, options);
  if (!prompt.ok()) return fail(prompt.error());
  SessionOptions session_options;
  session_options.context = options.generation.context;
  session_options.kv = options.model.kv_type();
  // A source has the room that it needs, up to the model's own limit.
  const auto read = static_cast<std::int64_t>(prompt->ids.size());
  if (model->is_encoder_decoder() && read <= model->max_seq_len())
    session_options.max_source_tokens = read;
  if (options.generation.searches(*model))
    session_options.output_rows = options.generation.beam_options(*model).beams;
  session_options.trace_events = options.trace.events();
  auto session = Session::create(*model, session_options);
  if (!session.ok()) return fail(session.error());
  bool shown = false;
  const auto reply = reply_to(*session, *prompt, options, shown);
  if (!reply.ok()) {
    if (shown) put("\n");
    return fail(reply.error());
  }
  if (options.json) {
    Json json = report(*model, *session, options, *reply);
    if (model->is_encoder_decoder()) json["source_tokens"] = read;
    put(to_text(json) + "\n");
  } else if (reply->text.empty() || reply->text.back() != '\n') {
    put("\n");
  }
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
  CLI::Option* prompt =
      command->add_option("-p,--prompt", options->prompt, "The prompt; - reads stdin");
  CLI::Option* file = command->add_option(
      "-f,--file", options->file,
      "A file with the prompt, or with what stands before -p (examples, a document); - is stdin");
  CLI::Option* system = command->add_option("--system", options->system, "System message");
  CLI::Option* raw = command->add_flag("--raw", options->raw, "Does not apply the chat template");
  raw->excludes(system);
  for (CLI::Option* part :
       {command->add_option("--prefix", options->prefix,
                            "Fill-in-the-middle (code models): the text before the gap"),
        command->add_option("--suffix", options->suffix, "The same: the text behind the gap")})
    part->excludes(prompt)->excludes(file)->excludes(system)->excludes(raw);
  options->generation.add_to(*command);
  options->generation.add_beams_to(*command);
  options->trace.add_to(*command);
  command->add_flag("--json", options->json, "One JSON document instead of streamed text");
  command->footer(
      "Example:\n"
      "  quern run smollm2.quern -p \"Why is the sky blue?\" -n 100 --temp 0.7 --seed 1\n"
      "  quern run smollm2.quern --raw -f examples.txt -p \"Q: 7 + 5\" --stop \"Q:\" --greedy\n"
      "  quern run coder.quern --prefix \"def add(a, b):\" --suffix \"    return total\" --greedy");
  on_chosen(command, options, action, run);
}

}  // namespace quern::cli
