// quern eval perplexity: how well a model predicts a text, and how far it is from another run.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "flag_checks.h"
#include "input.h"
#include "logits_file.h"
#include "model_flags.h"
#include "model_path.h"
#include "output_file.h"
#include "quern/evaluation.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct EvalOptions {
  ModelFlags model;
  TraceFlags trace;
  std::string text, save_logits, against;
  std::uint64_t bytes = 1ULL << 30;
  std::int64_t context = 512, chunks = 0, batch_rows = 512;
  bool json = false;
};

constexpr const char* kProtocol =
    "Protocol: the text becomes tokens without a BOS and without parsing special tokens, and is "
    "cut into\n"
    "windows of --ctx tokens that do not overlap; a rest is left out. Each window is evaluated "
    "from an\n"
    "empty state, and its tokens from position ctx/2 on are scored given all before them in the "
    "window.\n"
    "Perplexity is exp of the mean negative log-likelihood. With --against, KL divergence is\n"
    "KL(saved || this run) per scored token in nats.\n"
    "Example:\n  quern eval perplexity smollm2.quern --text english-eval.txt --bytes 120000 "
    "--chunks 20 --json";

/// The tokens that are scored, window by window.
std::vector<TokenId> scored_tokens(std::span<const TokenId> ids, std::size_t context) {
  std::vector<TokenId> targets;
  for (std::size_t window = 0; window + context <= ids.size(); window += context)
    targets.insert(targets.end(),
                   ids.begin() + static_cast<std::ptrdiff_t>(window + first_scored(context)),
                   ids.begin() + static_cast<std::ptrdiff_t>(window + context));
  return targets;
}

/// Scores rows of logits in the order of `targets`, beside saved ones and to a file where asked.
class Score {
 public:
  static Result<Score> create(const EvalOptions& options, std::vector<TokenId> targets,
                              std::uint64_t vocab_size) {
    Score score;
    score.targets_ = std::move(targets);
    score.vocab_size_ = static_cast<std::size_t>(vocab_size);
    if (!options.against.empty()) {
      QUERN_TRY(saved, SavedLogits::open(options.against, score.targets_, vocab_size));
      score.against_.emplace(std::move(saved));
    }
    if (!options.save_logits.empty()) {
      QUERN_TRY(file, OutputFile::create(options.save_logits));
      score.file_.emplace(std::move(file));
      QUERN_CHECK(score.file_->write(logits_file_head(score.targets_, vocab_size)));
    }
    return score;
  }

  /// \param rows `[n, vocab_size]`.
  Status add(std::span<const float> rows) {
    for (; rows.size() >= vocab_size_ && done_ < targets_.size(); rows = rows.subspan(vocab_size_))
      QUERN_CHECK(add_row(rows.first(vocab_size_)));
    return {};
  }

  Status finish() { return file_ ? file_->commit() : Status(); }

  Json json() const {
    const LogitsQuality found = score_.result();
    Json json;
    json["tokens"] = found.tokens;
    json["perplexity"] = found.perplexity;
    if (against_) {
      json["kl_divergence"] = {
          {"mean", found.kl_mean}, {"p99", found.kl_p99}, {"max", found.kl_max}};
      json["top1_agreement"] = found.top1_agreement;
    }
    return json;
  }

 private:
  Score() = default;

  Status add_row(std::span<const float> row) {
    const TokenId target = targets_[done_++];
    if (against_) {
      QUERN_TRY(other, against_->next());
      QUERN_CHECK(score_.add(row, target, other));
    } else {
      QUERN_CHECK(score_.add(row, target));
    }
    return file_ ? file_->write(row) : Status();
  }

  std::vector<TokenId> targets_;
  std::size_t vocab_size_ = 0, done_ = 0;
  LogitsScore score_;
  std::optional<SavedLogits> against_;
  std::optional<OutputFile> file_;
};

Status score_window(Session& session, std::span<const TokenId> window, Score& score) {
  return evaluate_window(session, window,
                         [&score](std::size_t, std::span<const float> rows) -> Status {
                           if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
                           return score.add(rows);
                         });
}

Result<Score> evaluate(const Model& model, const EvalOptions& options) {
  QUERN_TRY(text, read_beginning(options.text, options.bytes));
  QUERN_TRY(all, model.encode(text, {.add_special = false, .parse_special = false}));
  const auto context = static_cast<std::size_t>(options.context);
  std::size_t windows = all.size() / context;
  if (options.chunks > 0) windows = std::min(windows, static_cast<std::size_t>(options.chunks));
  if (windows == 0)
    return Error(ErrorCode::kInvalidArgument, "the text is shorter than one window")
        .in_file(input_name(options.text))
        .want(std::to_string(context) + " tokens")
        .got(std::to_string(all.size()));
  const std::span<const TokenId> ids = std::span(all).first(windows * context);
  SessionOptions session_options;
  session_options.context = options.context;
  session_options.batch_rows = options.batch_rows;
  session_options.output_rows = std::min(options.batch_rows, options.context / 2);
  session_options.kv = options.model.kv_type();
  session_options.trace_events = options.trace.events();
  QUERN_TRY(session, Session::create(model, session_options));
  QUERN_TRY(score, Score::create(options, scored_tokens(ids, context),
                                 static_cast<std::uint64_t>(model.vocab_size())));
  const InterruptScope scope;
  ProgressBar bar("evaluating");
  for (std::size_t window = 0; window < windows; ++window) {
    QUERN_CHECK(score_window(session, ids.subspan(window * context, context), score));
    bar.show(window + 1, windows);
  }
  QUERN_CHECK(score.finish());
  QUERN_CHECK(options.trace.report(session));
  return score;
}

int perplexity(const EvalOptions& options) {
  if (stdin_twice({options.model.path, options.text}))
    return usage("MODEL and the text cannot both be stdin");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto score = evaluate(*model, options);
  if (!score.ok()) return fail(score.error());
  Json json = score->json();
  if (options.json) {
    json["model"] = shown_path(model->path());
    json["context"] = options.context;
    json["isa"] = model->isa();
    json["threads"] = model->threads();
    json["fast"] = options.model.fast;
    put(to_text(json) + "\n");
  } else {
    char line[200];
    std::snprintf(line, sizeof(line), "perplexity %.4f over %lld tokens\n",
                  json["perplexity"].get<double>(),
                  static_cast<long long>(json["tokens"].get<std::int64_t>()));
    std::string text = line;
    if (json.contains("kl_divergence")) {
      const Json& kl = json["kl_divergence"];
      std::snprintf(line, sizeof(line),
                    "KL divergence mean %.6f, 99 %% %.6f, max %.6f; same top token %.2f %%\n",
                    kl["mean"].get<double>(), kl["p99"].get<double>(), kl["max"].get<double>(),
                    json["top1_agreement"].get<double>() * 100.0);
      text += line;
    }
    put(text);
  }
  return finish_stdout();
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* group = app.add_subcommand("eval", "Measures the quality of a model");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand("perplexity", "Perplexity of a text, over windows");
  options->model.add_to(*command);
  options->trace.add_to(*command);
  command->add_option("--text", options->text, "The text; - is stdin")->required();
  command->add_option("--bytes", options->bytes, "Only the first bytes of the text")
      ->check(above_zero());
  command->add_option("--ctx", options->context, "Tokens of a window")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  command->add_option("--chunks", options->chunks, "Only the first windows")->check(above_zero());
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step; changes no bit")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command
      ->add_option("--save-logits", options->save_logits, "Writes the scored logits (safetensors)")
      ->check(output_name());
  command->add_option("--against", options->against, "Compares with logits that another run saved");
  command->add_flag("--json", options->json, "One JSON document");
  command->footer(kProtocol);
  group->footer("Example:\n  quern eval perplexity smollm2.quern --text english-eval.txt");
  on_chosen(command, options, action, perplexity);
  add_eval_choice(*group, action);
  add_eval_likelihood(*group, action);
}

}  // namespace quern::cli
