// quern embed: sentence embeddings.
#include <charconv>
#include <memory>
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

constexpr std::size_t kTextsAtOnce = 256;

struct EmbedOptions {
  ModelFlags model;
  TraceFlags trace;
  std::vector<std::string> texts;
  std::string jsonl, pooling, normalize;
  bool json = false;
};

/// The shortest text that reads back to the same float32.
void append_number(std::string& out, float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, end);
}

/// One line a text: a JSON object, or numbers apart by spaces.
std::string line_of(const EmbedOptions& options, std::size_t index, std::size_t tokens,
                    std::span<const float> embedding) {
  std::string out;
  if (options.json) {
    out = "{\"index\":" + std::to_string(index) + ",\"tokens\":" + std::to_string(tokens) +
          ",\"embedding\":[";
  }
  for (std::size_t i = 0; i < embedding.size(); ++i) {
    if (i > 0) out += options.json ? ',' : ' ';
    append_number(out, embedding[i]);
  }
  return out + (options.json ? "]}\n" : "\n");
}

Status write_embeddings(const Model& model, const EmbedOptions& options,
                        const std::vector<std::string>& texts) {
  EmbeddingOptions embedding = model.default_embedding();
  if (!options.pooling.empty()) QUERN_CHECK(read_poolings(options.pooling, embedding));
  if (!options.normalize.empty()) embedding.normalize = options.normalize == "true";
  QUERN_TRY(encoder, Encoder::create(model, {.max_tokens = model.max_text_tokens(),
                                             .logits = false,
                                             .kv = options.model.kv_type(),
                                             .trace_events = options.trace.events()}));
  const InterruptScope scope;
  for (std::size_t first = 0; first < texts.size(); first += kTextsAtOnce) {
    if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
    std::vector<EncoderInput> inputs;
    for (std::size_t i = first; i < std::min(first + kTextsAtOnce, texts.size()); ++i) {
      QUERN_TRY(input, model.encode_text(texts[i], encoder.max_tokens()));
      inputs.push_back(std::move(input));
    }
    QUERN_TRY(all, encoder.embed(inputs, embedding));
    const std::size_t dim = all.size() / inputs.size();
    std::string out;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      out += line_of(options, first + i, inputs[i].ids.size(),
                     std::span<const float>(all).subspan(i * dim, dim));
    }
    if (!put(out)) break;
  }
  return options.trace.report(encoder);
}

int embed(const EmbedOptions& options) {
  if (stdin_twice({options.model.path, options.jsonl}))
    return usage("MODEL and the texts cannot both be stdin");
  std::vector<std::string> texts = options.texts;
  if (!options.jsonl.empty()) {
    auto more = read_texts(options.jsonl);
    if (!more.ok()) return fail(more.error());
    texts.insert(texts.end(), more->begin(), more->end());
  }
  if (texts.empty()) return usage("a text or --jsonl is needed; see quern embed --help");
  if (EmbeddingOptions unused; !options.pooling.empty()) {
    const Status known = read_poolings(options.pooling, unused);
    if (!known.ok()) return usage(known.error().describe());
  }
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  const Status written = write_embeddings(*model, options, texts);
  if (!written.ok()) return fail(written.error());
  return finish_stdout();
}

}  // namespace

void add_embed(CLI::App& app, Action& action) {
  auto options = std::make_shared<EmbedOptions>();
  CLI::App* command = app.add_subcommand("embed", "Sentence embeddings, one line a text");
  options->model.add_to(*command);
  options->trace.add_to(*command);
  command->add_option("TEXT", options->texts, "Texts to embed");
  command->add_option("--jsonl", options->jsonl,
                      "JSON Lines with `text` (or plain strings) instead of, or after, TEXT; - is "
                      "stdin");
  command->add_option(
      "--pooling", options->pooling,
      "mean, cls, last, max, weighted-mean or mean-sqrt; several with commas between are joined "
      "(default: the checkpoint's own, else mean)");
  command
      ->add_option("--normalize", options->normalize,
                   "true: to length one; false: not (default: the checkpoint's own, else true)")
      ->check(CLI::IsMember({"true", "false"}));
  command->add_flag("--json", options->json,
                    "{\"index\": …, \"tokens\": …, \"embedding\": […]}, one line a text");
  command->footer(
      "A text longer than the model was made for is cut at its end.\n"
      "Example:\n  quern embed minilm.quern \"The mill turns.\" \"Der Müller schläft.\" --json");
  on_chosen(command, options, action, embed);
}

}  // namespace quern::cli
