// quern eval choice, quern eval likelihood: how likely a model finds given continuations.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "flag_checks.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "quern/evaluation.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct ContinuationOptions {
  ModelFlags model;
  TraceFlags trace;
  std::string jsonl, file, context, by = "sum";
  std::vector<std::string> continuations;
  std::int64_t positions = 0;
  bool parse_special = false, json = false;
};

constexpr const char* kProtocol =
    "Protocol: context and continuation are encoded as one text; what the continuations of a line\n"
    "share of it is evaluated once, and every token behind that is scored given all before it. "
    "Sums\n"
    "of natural logarithms, and the same divided by the continuation's bytes or tokens.\n";

/// One line: a text and what may follow it.
struct Question {
  std::string context;
  std::vector<std::string> continuations;
  std::optional<std::size_t> answer;
};

/// What was found for it.
struct Answered {
  Question question;
  std::vector<Likelihood> likelihoods;
};

Error bad_line(const std::string& file, std::size_t line, const char* field, const char* what) {
  return Error(ErrorCode::kMalformed, what)
      .in_file(file + ", line " + std::to_string(line))
      .of(field);
}

/// A list of texts, or one text, under one of two names.
std::optional<std::vector<std::string>> texts_of(const Json& json, const char* many,
                                                 const char* one) {
  std::vector<std::string> texts;
  if (json.contains(one) && json[one].is_string()) return std::vector{json[one].get<std::string>()};
  if (!json.contains(many) || !json[many].is_array() || json[many].empty()) return std::nullopt;
  for (const Json& text : json[many]) {
    if (!text.is_string()) return std::nullopt;
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

Result<Question> read_question(std::string_view text, const std::string& file, std::size_t line) {
  QUERN_TRY(json, parse_json(text, file + ", line " + std::to_string(line)));
  if (!json.is_object()) return bad_line(file, line, "line", "a line holds one JSON object");
  Question question;
  for (const char* key : {"question", "context"}) {
    if (!json.contains(key)) continue;
    if (!json[key].is_string()) return bad_line(file, line, key, "the context is a text");
    question.context = json[key].get<std::string>();
  }
  auto texts = texts_of(json, "choices", "continuation");
  if (!texts) texts = texts_of(json, "continuations", "continuation");
  if (!texts)
    return bad_line(file, line, "choices", "a line needs a list of texts that may follow");
  question.continuations = std::move(*texts);
  if (!json.contains("answer") || json["answer"].is_null()) return question;
  const Json& answer = json["answer"];
  if (!answer.is_number_integer() || answer.get<std::int64_t>() < 0 ||
      answer.get<std::uint64_t>() >= question.continuations.size())
    return bad_line(file, line, "answer", "an answer is the number of a choice")
        .want("0 to " + std::to_string(question.continuations.size() - 1))
        .got(to_text(answer));
  question.answer = answer.get<std::size_t>();
  return question;
}

Result<std::vector<Question>> read_questions(const ContinuationOptions& options) {
  std::vector<Question> questions;
  if (options.jsonl.empty()) {
    questions.push_back({options.context, options.continuations, std::nullopt});
    return questions;
  }
  QUERN_TRY(text, read_input(options.jsonl));
  std::size_t number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    QUERN_TRY(question, read_question(line, input_name(options.jsonl), number));
    questions.push_back(std::move(question));
  }
  if (questions.empty())
    return Error(ErrorCode::kMalformed, "the file has no line to evaluate")
        .in_file(input_name(options.jsonl));
  return questions;
}

Result<std::vector<Answered>> evaluate(const Model& model, const ContinuationOptions& options) {
  QUERN_TRY(questions, read_questions(options));
  std::string examples;
  if (!options.file.empty()) {
    QUERN_TRY(text, read_input(options.file));
    examples = std::move(text);
  }
  SessionOptions session_options;
  session_options.context = options.positions;
  session_options.kv = options.model.kv_type();
  session_options.trace_events = options.trace.events();
  QUERN_TRY(session, Session::create(model, session_options));
  const InterruptScope scope;
  ProgressBar bar("evaluating");
  std::vector<Answered> answered;
  for (Question& question : questions) {
    if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
    auto found = continuation_likelihoods(session, examples + question.context,
                                          question.continuations, options.parse_special);
    if (!found.ok() && !options.jsonl.empty())
      return std::move(found).error().in_file(input_name(options.jsonl) + ", question " +
                                              std::to_string(answered.size() + 1));
    if (!found.ok()) return std::move(found).error();
    answered.push_back({std::move(question), std::move(*found)});
    bar.show(answered.size(), questions.size());
  }
  QUERN_CHECK(options.trace.report(session));
  return answered;
}

/// Number of the likeliest continuation; of equal ones the first. \param by "sum", "byte", "token".
std::size_t choice_of(const std::vector<Likelihood>& found, const std::string& by) {
  const auto value = [&](const Likelihood& one) {
    return by == "byte" ? one.per_byte() : by == "token" ? one.per_token() : one.log_likelihood;
  };
  std::size_t best = 0;
  for (std::size_t i = 1; i < found.size(); ++i)
    if (value(found[i]) > value(found[best])) best = i;
  return best;
}

Json likelihood_json(const Likelihood& found) {
  return {{"log_likelihood", found.log_likelihood},
          {"per_byte", found.per_byte()},
          {"per_token", found.per_token()},
          {"bytes", found.bytes},
          {"tokens", found.tokens},
          {"is_greedy", found.is_greedy}};
}

/// What both commands say about the run.
Json head_json(const Model& model, const ContinuationOptions& options) {
  Json json;
  json["model"] = shown_path(model.path());
  json["isa"] = model.isa();
  json["threads"] = model.threads();
  json["fast"] = options.model.fast;
  return json;
}

std::string figures(const Likelihood& found) {
  char text[120];
  std::snprintf(text, sizeof(text), "%12.4f %10.4f %10.4f %7lld", found.log_likelihood,
                found.per_byte(), found.per_token(), static_cast<long long>(found.tokens));
  return text;
}

constexpr const char* kColumns = "         sum   per byte  per token  tokens  continuation\n";

/// How many questions with an answer there are, and how many were answered right by each measure.
struct Accuracy {
  std::size_t answered = 0, sum = 0, byte = 0, token = 0;

  explicit Accuracy(const std::vector<Answered>& all) {
    for (const Answered& one : all) {
      if (!one.question.answer) continue;
      const auto right = [&](const char* by) {
        return choice_of(one.likelihoods, by) == *one.question.answer ? 1U : 0U;
      };
      ++answered;
      sum += right("sum");
      byte += right("byte");
      token += right("token");
    }
  }
  double share(std::size_t right) const {
    return static_cast<double>(right) / static_cast<double>(answered);
  }
};

void put_choices(const std::vector<Answered>& all, const Accuracy& accuracy,
                 const ContinuationOptions& options) {
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& question = all[i].question;
    const std::size_t chosen = choice_of(all[i].likelihoods, options.by);
    text += std::to_string(i + 1) + ": " + std::to_string(chosen) + " " +
            to_text(question.continuations[chosen]);
    if (question.answer)
      text += *question.answer == chosen ? " (right)"
                                         : " (wrong: " + std::to_string(*question.answer) + ")";
    text += "\n";
  }
  if (accuracy.answered > 0) {
    char line[160];
    std::snprintf(
        line, sizeof(line),
        "accuracy over %zu questions: %.2f %% by sum, %.2f %% by byte, %.2f %% by token\n",
        accuracy.answered, accuracy.share(accuracy.sum) * 100.0,
        accuracy.share(accuracy.byte) * 100.0, accuracy.share(accuracy.token) * 100.0);
    text += line;
  }
  put(text);
}

int choice(const ContinuationOptions& options) {
  if (stdin_twice({options.model.path, options.jsonl, options.file}))
    return usage("only one of MODEL, --jsonl and --file can be stdin");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto all = evaluate(*model, options);
  if (!all.ok()) return fail(all.error());
  const Accuracy accuracy(*all);
  if (!options.json) {
    put_choices(*all, accuracy, options);
    return finish_stdout();
  }
  Json json = head_json(*model, options);
  json["questions"] = all->size();
  json["answered"] = accuracy.answered;
  if (accuracy.answered > 0)
    json["accuracy"] = {{"sum", accuracy.share(accuracy.sum)},
                        {"byte", accuracy.share(accuracy.byte)},
                        {"token", accuracy.share(accuracy.token)}};
  json["by"] = options.by;
  json["results"] = Json::array();
  for (const Answered& one : *all) {
    Json result;
    result["choice"] = choice_of(one.likelihoods, options.by);
    if (one.question.answer) result["answer"] = *one.question.answer;
    for (const Likelihood& found : one.likelihoods)
      result["choices"].push_back(likelihood_json(found));
    json["results"].push_back(std::move(result));
  }
  put(to_text(json) + "\n");
  return finish_stdout();
}

int likelihood(const ContinuationOptions& options) {
  if (stdin_twice({options.model.path, options.jsonl, options.file}))
    return usage("only one of MODEL, --jsonl and --file can be stdin");
  if (options.continuations.empty() == options.jsonl.empty())
    return usage("what is to be scored: CONTINUATION..., or --jsonl FILE");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto all = evaluate(*model, options);
  if (!all.ok()) return fail(all.error());
  Json json = head_json(*model, options);
  std::string text = kColumns;
  for (const Answered& one : *all) {
    Json result = Json::array();
    for (std::size_t i = 0; i < one.likelihoods.size(); ++i) {
      result.push_back(likelihood_json(one.likelihoods[i]));
      text += figures(one.likelihoods[i]) + "  " + to_text(one.question.continuations[i]) + "\n";
    }
    json["results"].push_back({{"continuations", std::move(result)}});
  }
  put(options.json ? to_text(json) + "\n" : text);
  return finish_stdout();
}

void add_shared(CLI::App& command, ContinuationOptions& options) {
  options.model.add_to(command);
  options.trace.add_to(command);
  command.add_option("-f,--file", options.file,
                     "A file whose text stands before every context (examples); evaluated once");
  command
      .add_option("--ctx", options.positions,
                  "Positions kept; default: the model's longest, at most 8192")
      ->check(above_zero());
  command.add_flag("--parse-special", options.parse_special,
                   "Control tokens written in the texts become their ids");
  command.add_flag("--json", options.json, "One JSON document");
}

}  // namespace

void add_eval_choice(CLI::App& group, Action& action) {
  auto options = std::make_shared<ContinuationOptions>();
  CLI::App* command =
      group.add_subcommand("choice", "Classification: which of several continuations is likelier");
  add_shared(*command, *options);
  command
      ->add_option(
          "--jsonl", options->jsonl,
          "Lines of {\"context\": TEXT, \"choices\": [TEXT, ...], \"answer\": NUMBER}; - is "
          "stdin")
      ->required();
  command->add_option("--by", options->by, "What decides: the sum, or its share per byte or token")
      ->check(CLI::IsMember({"sum", "byte", "token"}))
      ->capture_default_str();
  command->footer(
      std::string(kProtocol) +
      "\"question\" is another name of \"context\"; \"answer\" counts from 0 and may be "
      "absent.\nExample:\n  quern eval choice smollm2.quern --jsonl questions.jsonl "
      "-f examples.txt --json");
  on_chosen(command, options, action, choice);
}

void add_eval_likelihood(CLI::App& group, Action& action) {
  auto options = std::make_shared<ContinuationOptions>();
  CLI::App* command =
      group.add_subcommand("likelihood", "Log-likelihood of given continuations of a text");
  add_shared(*command, *options);
  CLI::Option* context =
      command->add_option("--context", options->context, "The text that they follow");
  CLI::Option* texts = command->add_option("CONTINUATION", options->continuations, "The texts");
  command
      ->add_option("--jsonl", options->jsonl,
                   "Lines of {\"context\": TEXT, \"continuations\": [TEXT, ...]}, or with one "
                   "\"continuation\"; - is stdin")
      ->excludes(context)
      ->excludes(texts);
  command->footer(
      std::string(kProtocol) +
      "Example:\n  quern eval likelihood smollm2.quern --context \"The capital of France "
      "is\" \" Paris\" \" Rome\"");
  on_chosen(command, options, action, likelihood);
}

}  // namespace quern::cli
