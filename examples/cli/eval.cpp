// quern eval perplexity: how well a model predicts a text, and how far it is from another run.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.h"
#include "input.h"
#include "logits_file.h"
#include "model_flags.h"
#include "model_path.h"
#include "output_file.h"
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

std::size_t argmax(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

/// log of the sum of exp of a row.
double log_sum_exp(std::span<const float> row) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float value : row) sum += std::exp(static_cast<double>(value) - top);
  return top + std::log(sum);
}

/// KL(p || q) of two rows of logits, never negative.
double divergence(std::span<const float> p, std::span<const float> q) {
  const double p_norm = log_sum_exp(p), q_norm = log_sum_exp(q);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = static_cast<double>(p[i]) - p_norm;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - q_norm));
  }
  return std::max(sum, 0.0);
}

/// Linear interpolation between the ranks around `share`. \pre sorted, not empty.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

/// The tokens that are scored, window by window.
std::vector<TokenId> scored_tokens(std::span<const TokenId> ids, std::size_t context) {
  std::vector<TokenId> targets;
  for (std::size_t window = 0; window + context <= ids.size(); window += context)
    targets.insert(targets.end(), ids.begin() + static_cast<std::ptrdiff_t>(window + context / 2),
                   ids.begin() + static_cast<std::ptrdiff_t>(window + context));
  return targets;
}

/// Sums up over rows of logits as they come.
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

  Status finish() {
    std::sort(divergences_.begin(), divergences_.end());
    return file_ ? file_->commit() : Status();
  }

  double perplexity() const { return std::exp(nll_ / static_cast<double>(done_)); }
  std::size_t tokens() const { return done_; }

  Json json() const {
    Json json;
    json["tokens"] = done_;
    json["perplexity"] = perplexity();
    if (against_) {
      double sum = 0;
      for (const double value : divergences_) sum += value;
      json["kl_divergence"] = {{"mean", sum / static_cast<double>(done_)},
                               {"p99", percentile(divergences_, 0.99)},
                               {"max", divergences_.back()}};
      json["top1_agreement"] = static_cast<double>(agreed_) / static_cast<double>(done_);
    }
    return json;
  }

 private:
  Score() = default;

  Status add_row(std::span<const float> row) {
    const auto target = static_cast<std::size_t>(targets_[done_++]);
    if (target >= row.size())
      return Error(ErrorCode::kMismatch, "the tokenizer has tokens that the model lacks")
          .of("ids")
          .want("below " + std::to_string(row.size()))
          .got(std::to_string(target));
    nll_ += log_sum_exp(row) - static_cast<double>(row[target]);
    if (against_) {
      QUERN_TRY(other, against_->next());
      divergences_.push_back(divergence(other, row));
      agreed_ += argmax(other) == argmax(row) ? 1 : 0;
    }
    return file_ ? file_->write(row) : Status();
  }

  std::vector<TokenId> targets_;
  std::size_t vocab_size_ = 0, done_ = 0, agreed_ = 0;
  double nll_ = 0;
  std::vector<double> divergences_;
  std::optional<SavedLogits> against_;
  std::optional<OutputFile> file_;
};

Status score_window(Session& session, std::span<const TokenId> window, Score& score) {
  QUERN_CHECK(session.rewind(0));
  // Logits are needed from the position before the first scored token on; the last token is
  // only predicted.
  const std::size_t first = window.size() / 2 - 1;
  if (first > 0) QUERN_CHECK(session.step(window.first(first)));
  const auto scored = window.subspan(first, window.size() - 1 - first);
  return session.step_all(scored, [&score](std::int64_t, std::span<const float> rows) -> Status {
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
        .in_file(options.text)
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
    std::snprintf(line, sizeof(line), "perplexity %.4f over %zu tokens\n", score->perplexity(),
                  score->tokens());
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
      ->check(CLI::PositiveNumber);
  command->add_option("--ctx", options->context, "Tokens of a window")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  command->add_option("--chunks", options->chunks, "Only the first windows")
      ->check(CLI::PositiveNumber);
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step; changes no bit")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--save-logits", options->save_logits,
                      "Writes the scored logits (safetensors)");
  command->add_option("--against", options->against, "Compares with logits that another run saved");
  command->add_flag("--json", options->json, "One JSON document");
  command->footer(kProtocol);
  group->footer("Example:\n  quern eval perplexity smollm2.quern --text english-eval.txt");
  on_chosen(command, options, action, perplexity);
}

}  // namespace quern::cli
