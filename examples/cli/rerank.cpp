// quern rerank: scores of documents for a query by a cross-encoder.
#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "command.h"
#include "encoder_input.h"
#include "model_flags.h"
#include "model_path.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct RerankOptions {
  ModelFlags model;
  TraceFlags trace;
  std::string query, jsonl;
  std::vector<std::string> documents;
  bool json = false;
};

/// The head's logits of every document with the query, `[documents, labels]`.
Result<std::vector<std::vector<float>>> score(const Model& model, const RerankOptions& options,
                                              const std::vector<std::string>& documents) {
  QUERN_TRY(encoder, Encoder::create(model, {.max_tokens = model.max_text_tokens(),
                                             .kv = options.model.kv_type(),
                                             .trace_events = options.trace.events()}));
  std::vector<EncoderInput> inputs;
  for (const std::string& document : documents) {
    QUERN_TRY(input, model.encode_pair(options.query, document, encoder.max_tokens()));
    inputs.push_back(std::move(input));
  }
  std::vector<std::vector<float>> scores;
  QUERN_CHECK(encoder.run(inputs, [&](std::size_t, const EncoderOutput& output) -> Status {
    if (output.logits.empty() || output.per_token)
      return Error(ErrorCode::kUnsupported,
                   "the model is no cross-encoder: it has no head for pairs")
          .in_file(model.path())
          .want("a model for sequence classification");
    scores.emplace_back(output.logits.begin(), output.logits.end());
    return {};
  }));
  QUERN_CHECK(options.trace.report(encoder));
  return scores;
}

void show(const RerankOptions& options, const std::vector<std::string>& documents,
          const std::vector<std::vector<float>>& scores) {
  // By the last label: the only one, or "relevant" of a pair of them.
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return scores[a].back() > scores[b].back();
  });
  Json results = Json::array();
  std::string lines;
  for (const std::size_t i : order) {
    results.push_back({{"index", i},
                       {"score", static_cast<double>(scores[i].back())},
                       {"logits", to_json(scores[i])},
                       {"document", documents[i]}});
    // As JSON writes it, so that a document of many lines stays one.
    const std::string document = to_text(Json(documents[i]));
    lines += std::to_string(scores[i].back()) + "\t" + std::to_string(i) + "\t" +
             document.substr(1, document.size() - 2) + "\n";
  }
  put(options.json ? to_text(Json{{"query", options.query}, {"results", results}}) + "\n" : lines);
}

int rerank(const RerankOptions& options) {
  if (stdin_twice({options.model.path, options.jsonl}))
    return usage("MODEL and the documents cannot both be stdin");
  std::vector<std::string> documents = options.documents;
  if (!options.jsonl.empty()) {
    auto more = read_texts(options.jsonl);
    if (!more.ok()) return fail(more.error());
    documents.insert(documents.end(), more->begin(), more->end());
  }
  if (documents.empty()) return usage("a document is needed; see quern rerank --help");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const auto scores = score(*model, options, documents);
  if (!scores.ok()) return fail(scores.error());
  show(options, documents, *scores);
  return finish_stdout();
}

}  // namespace

void add_rerank(CLI::App& app, Action& action) {
  auto options = std::make_shared<RerankOptions>();
  CLI::App* command =
      app.add_subcommand("rerank", "Scores of documents for a query by a cross-encoder");
  options->model.add_to(*command);
  options->trace.add_to(*command);
  command->add_option("--query", options->query, "The question")->required();
  command->add_option("DOC", options->documents, "Documents");
  command->add_option("--jsonl", options->jsonl,
                      "Documents as JSON Lines with `text` (or plain strings); - is stdin");
  command->add_flag(
      "--json", options->json,
      "{\"query\": …, \"results\": [{\"index\", \"score\", \"logits\", \"document\"}]}");
  command->footer(
      "The best document comes first; a score is the head's logit, without sigmoid. One line a\n"
      "document: score, number, text (line breaks as \\n).\n"
      "Example:\n  quern rerank reranker.quern --query \"What turns?\" \"The mill.\" \"The "
      "moon.\"");
  on_chosen(command, options, action, rerank);
}

}  // namespace quern::cli
