// quern bench: rates of prefill and decode, or of an encoder, load time, memory.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "quern/encoder.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  ModelFlags model;
  TraceFlags trace;
  std::int64_t prefill_tokens = 512, decode_tokens = 128, depth = 0;
  std::int64_t batch_rows = SessionOptions().batch_rows;
  int repeats = 5;
  bool json = false;
};

struct Rates {
  const char* test;
  std::int64_t tokens;
  std::vector<double> tokens_per_second;
  std::int64_t depth = 0;
  std::int64_t texts = 0;  ///< Of an encoder, so many tokens each.
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024U;  // Linux counts KiB.
}

/// Tokens that are the same in every run, spread over the vocabulary.
std::vector<TokenId> some_tokens(std::int64_t count, std::int64_t vocab_size) {
  std::vector<TokenId> ids(static_cast<std::size_t>(count));
  std::uint64_t state = 1;
  for (TokenId& id : ids) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    id = static_cast<TokenId>((state >> 33U) % static_cast<std::uint64_t>(vocab_size));
  }
  return ids;
}

/// Brings the session to exactly the first `depth` tokens.
Status go_to_depth(Session& session, std::span<const TokenId> tokens, std::int64_t depth) {
  Status back = session.rewind(std::min(depth, session.position()));
  if (!back.ok()) QUERN_CHECK(session.rewind(0));  // A window cannot always go back.
  const auto at = static_cast<std::size_t>(session.position());
  if (static_cast<std::int64_t>(at) == depth) return {};
  QUERN_TRY(logits, session.step(tokens.subspan(at, static_cast<std::size_t>(depth) - at)));
  return logits.empty() ? Status(Error(ErrorCode::kInternal, "a step gave no logits")) : Status();
}

/// One repeat of an encoder–decoder's encoder: the tokens are its source.
Result<double> source_rate(Session& session, std::span<const TokenId> tokens) {
  const auto start = Clock::now();
  QUERN_CHECK(session.read_source(tokens));
  return static_cast<double>(tokens.size()) / seconds_since(start);
}

/// One repeat of a prefill: `tokens` after the first `depth`, in one call.
Result<double> prefill_rate(Session& session, std::span<const TokenId> tokens, std::int64_t depth) {
  QUERN_CHECK(go_to_depth(session, tokens, depth));
  const auto rest = tokens.subspan(static_cast<std::size_t>(depth));
  const auto start = Clock::now();
  QUERN_CHECK(session.step(rest));
  return static_cast<double>(rest.size()) / seconds_since(start);
}

/// One repeat of a decode, which is a reply's: every step is chosen from the logits of the one
/// before. Of these a device keeps all but those that the choice looks at.
Result<double> decode_rate(Session& session, std::span<const TokenId> prompt, std::int64_t count) {
  GenerateOptions generation;
  generation.sampling.temperature = 0;
  generation.max_tokens = count + 1;  // The last one is chosen and not evaluated.
  generation.ignore_end_tokens = true;
  generation.speculate = false;
  generation.cancel = &InterruptScope::flag();
  QUERN_TRY(reply, session.generate(prompt, generation));
  if (reply.reason == FinishReason::kCancelled) return Error(ErrorCode::kCancelled, "interrupted");
  return static_cast<double>(reply.stats.generated_tokens - 1) * 1000.0 / reply.stats.decode_ms;
}

/// One repeat of a test.
Result<double> rate_of(Session& session, bool decodes, std::int64_t count,
                       const BenchOptions& options) {
  const std::int64_t depth = options.depth;
  const auto tokens = some_tokens(depth + count, session.model().vocab_size());
  if (decodes) {
    const auto stands = static_cast<std::size_t>(std::max<std::int64_t>(depth, 1));
    return decode_rate(session, std::span(tokens).first(stands), count);
  }
  if (!session.model().is_encoder_decoder()) return prefill_rate(session, tokens, depth);
  return source_rate(session, some_tokens(count, session.model().source_vocab_size()));
}

Result<Rates> measure(Session& session, const char* test, std::int64_t count,
                      const BenchOptions& options, ProgressBar& bar) {
  Rates rates{test, count, {}, options.depth};
  const bool decodes = std::string_view(test) == "decode";
  if (session.model().is_encoder_decoder()) {
    const std::int64_t rows = std::max<std::int64_t>(1, options.prefill_tokens);
    QUERN_CHECK(session.read_source(some_tokens(rows, session.model().source_vocab_size())));
  }
  // The first run fills caches and page tables and is not counted.
  for (int repeat = -1; repeat < options.repeats; ++repeat) {
    if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
    QUERN_TRY(rate, rate_of(session, decodes, count, options));
    if (repeat >= 0) rates.tokens_per_second.push_back(rate);
    bar.show(static_cast<std::uint64_t>(repeat + 1), static_cast<std::uint64_t>(options.repeats));
  }
  return rates;
}

/// Texts of as many tokens as a prefill has, or as an encoder takes, several to a step.
Result<std::vector<Rates>> measure_encoder(const Model& model, const BenchOptions& options) {
  constexpr std::int64_t kLeastTokens = 8192;
  EncoderOptions encoder_options;
  encoder_options.batch_rows = options.batch_rows;
  encoder_options.kv = options.model.kv_type();
  encoder_options.trace_events = options.trace.events();
  QUERN_TRY(encoder, Encoder::create(model, encoder_options));
  Rates rates{"encode", std::min(options.prefill_tokens, encoder.max_tokens()), {}};
  if (rates.tokens == 0) return std::vector<Rates>();
  rates.texts = (kLeastTokens + rates.tokens - 1) / rates.tokens;
  const EncoderInput text{some_tokens(rates.tokens, model.vocab_size()), {}};
  const std::vector<EncoderInput> texts(static_cast<std::size_t>(rates.texts), text);
  const InterruptScope scope;
  ProgressBar bar("measuring");
  for (int repeat = -1; repeat < options.repeats; ++repeat) {
    if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
    const auto start = Clock::now();
    QUERN_CHECK(encoder.run(texts, [](std::size_t, const EncoderOutput&) { return Status(); }));
    const auto tokens = static_cast<double>(rates.texts * rates.tokens);
    if (repeat >= 0) rates.tokens_per_second.push_back(tokens / seconds_since(start));
    bar.show(static_cast<std::uint64_t>(repeat + 1), static_cast<std::uint64_t>(options.repeats));
  }
  QUERN_CHECK(options.trace.report(encoder));
  return std::vector{std::move(rates)};
}

Result<std::vector<Rates>> measure_all(const Model& model, const BenchOptions& options,
                                       KvType& kv) {
  if (model.is_encoder()) {
    kv = options.model.kv_type();
    if (kv == KvType::kAuto) kv = KvType::kF32;  // Of an encoder.
    return measure_encoder(model, options);
  }
  SessionOptions session_options;
  const std::int64_t longest =
      std::max<std::int64_t>({options.prefill_tokens, options.decode_tokens, 1});
  // At depth 0 a reply follows a token nevertheless, where there is room for it.
  const std::int64_t reply = std::max<std::int64_t>(options.depth, 1) + options.decode_tokens;
  session_options.context = std::max(options.depth + longest, std::min(reply, model.max_seq_len()));
  session_options.batch_rows = options.batch_rows;
  session_options.kv = options.model.kv_type();
  session_options.trace_events = options.trace.events();
  QUERN_TRY(session, Session::create(model, session_options));
  kv = session.kv();
  std::vector<Rates> all;
  const InterruptScope scope;
  ProgressBar bar("measuring");
  for (const auto& [test, count] :
       {std::pair("prefill", options.prefill_tokens), std::pair("decode", options.decode_tokens)}) {
    if (count == 0) continue;
    QUERN_TRY(rates, measure(session, test, count, options, bar));
    all.push_back(std::move(rates));
  }
  QUERN_CHECK(options.trace.report(session));
  return all;
}

Json report(const Model& model, const BenchOptions& options, double load_ms, KvType kv,
            const std::vector<Rates>& all) {
  Json json;
  json["model"] = shown_path(model.path());
  json["isa"] = model.isa();
  json["threads"] = model.threads();
  json["kv"] = kv_name(kv);
  json["fast"] = options.model.fast;
  json["load_ms"] = load_ms;
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["results"] = Json::array();
  for (const Rates& rates : all) {
    Json result{{"test", rates.test}, {"tokens", rates.tokens}, {"depth", rates.depth}};
    if (rates.texts != 0) result["texts"] = rates.texts;
    result["tokens_per_second"] = rates.tokens_per_second;
    json["results"].push_back(std::move(result));
  }
  return json;
}

std::string report_text(const Model& model, double load_ms, const std::vector<Rates>& all) {
  char line[256];
  std::snprintf(line, sizeof(line), "%s: %s, %d threads, loaded in %.1f ms, peak %.1f MiB\n",
                shown_path(model.path()).c_str(), std::string(model.isa()).c_str(), model.threads(),
                load_ms, static_cast<double>(peak_rss_bytes()) / 1048576.0);
  std::string text = line;
  for (const Rates& rates : all) {
    double sum = 0, squares = 0;
    for (const double rate : rates.tokens_per_second) sum += rate;
    const auto n = static_cast<double>(rates.tokens_per_second.size());
    for (const double rate : rates.tokens_per_second)
      squares += (rate - sum / n) * (rate - sum / n);
    const std::string what = rates.texts == 0
                                 ? "at depth " + std::to_string(rates.depth)
                                 : "in each of " + std::to_string(rates.texts) + " texts";
    std::snprintf(line, sizeof(line), "%-8s %6lld tokens %s: %10.2f ± %.2f tokens/s\n", rates.test,
                  static_cast<long long>(rates.tokens), what.c_str(), sum / n,
                  std::sqrt(squares / n));
    text += line;
  }
  return text;
}

int bench(const BenchOptions& options) {
  const auto start = Clock::now();
  const auto model = options.model.open();
  const double load_ms = seconds_since(start) * 1000.0;
  if (!model.ok()) return fail(model.error());
  KvType kv = KvType::kAuto;
  const auto all = measure_all(*model, options, kv);
  if (!all.ok()) return fail(all.error());
  put(options.json ? to_text(report(*model, options, load_ms, kv, *all)) + "\n"
                   : report_text(*model, load_ms, *all));
  return finish_stdout();
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Prefill and decode rates, load time, memory");
  options->model.add_to(*command);
  options->trace.add_to(*command);
  command
      ->add_option("-p", options->prefill_tokens,
                   "Tokens of the prefill test, or of an encoder's texts; 0 leaves it out")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("-n", options->decode_tokens, "Tokens of the decode test; 0 leaves it out")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--depth", options->depth, "Tokens that stand in the context already")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("-r,--repeats", options->repeats, "Repeats, after one that is not counted")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON document");
  command->footer("Example:\n  quern bench smollm2.quern -p 512 -n 128 -r 5 --json");
  on_chosen(command, options, action, bench);
}

}  // namespace quern::cli
