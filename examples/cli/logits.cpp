// quern logits: the float32 results of a token sequence: logits, or an encoder's states.
#include <algorithm>
#include <memory>
#include <string>

#include "command.h"
#include "encoder_input.h"
#include "flag_checks.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "output_file.h"
#include "terminal.h"
#include "trace_output.h"

namespace quern::cli {
namespace {

struct LogitsOptions {
  ModelFlags model;
  TraceFlags trace;
  std::string ids, type_ids, decoder_ids, output;
  std::int64_t batch_rows = 512;
  bool json = false;
};

Status write_logits(Session& session, const std::vector<TokenId>& ids, const std::string& path) {
  QUERN_TRY(file, OutputFile::create(path));
  const auto vocab_size = static_cast<std::uint64_t>(session.model().vocab_size());
  QUERN_CHECK(file.write(safetensors_header({{"logits", "F32", {ids.size(), vocab_size}}})));
  const InterruptScope scope;
  QUERN_CHECK(session.step_all(ids, [&](std::int64_t, std::span<const float> rows) -> Status {
    if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
    return file.write(rows);
  }));
  return file.commit();
}

/// encoder_last_hidden_state of the source and the decoder's logits.
Status write_encoder_decoder(Session& session, const std::vector<TokenId>& source,
                             const std::vector<TokenId>& ids, const std::string& path) {
  const InterruptScope scope;
  QUERN_TRY(states, session.read_source(source));
  QUERN_TRY(file, OutputFile::create(path));
  const auto vocab_size = static_cast<std::uint64_t>(session.model().vocab_size());
  std::vector<TensorHeader> heads = {
      {"encoder_last_hidden_state", "F32", {source.size(), states.size() / source.size()}}};
  if (!ids.empty()) heads.push_back({"logits", "F32", {ids.size(), vocab_size}});
  QUERN_CHECK(file.write(safetensors_header(heads)));
  QUERN_CHECK(file.write(states));
  if (!ids.empty()) {
    QUERN_CHECK(session.step_all(ids, [&](std::int64_t, std::span<const float> rows) -> Status {
      if (interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
      return file.write(rows);
    }));
  }
  return file.commit();
}

/// last_hidden_state, embedding, and the class's logits where it has a head.
Result<Json> write_encoder(const Model& model, const LogitsOptions& options,
                           const EncoderInput& input) {
  const auto n = static_cast<std::int64_t>(input.ids.size());
  if (n > model.max_seq_len())
    return Error(ErrorCode::kLimit, "the sequence is too long for the model")
        .of("--ids")
        .want("at most " + std::to_string(model.max_seq_len()))
        .got(std::to_string(n));
  QUERN_TRY(encoder, Encoder::create(model, {.max_tokens = n,
                                             .batch_rows = n,
                                             .kv = options.model.kv_type(),
                                             .trace_events = options.trace.events()}));
  QUERN_TRY(file, OutputFile::create(options.output));
  const auto dim = static_cast<std::uint64_t>(encoder.dim());
  QUERN_TRY(embedding, encoder.embed({&input, 1}, model.default_embedding()));
  Json tensors = Json::object();
  const auto write = [&](std::size_t, const EncoderOutput& output) -> Status {
    std::vector<TensorHeader> heads = {{"last_hidden_state", "F32", {input.ids.size(), dim}},
                                       {"embedding", "F32", {embedding.size()}}};
    if (!output.logits.empty()) {
      const std::uint64_t cols = output.logits.size() / output.logit_rows;
      heads.push_back({"logits", "F32", {cols}});
      if (output.per_token) heads.back().shape = {output.logit_rows, cols};
    }
    for (const TensorHeader& head : heads) tensors[head.name] = head.shape;
    QUERN_CHECK(file.write(safetensors_header(heads)));
    QUERN_CHECK(file.write(output.hidden));
    QUERN_CHECK(file.write(std::span<const float>(embedding)));
    return output.logits.empty() ? Status() : file.write(output.logits);
  };
  QUERN_CHECK(encoder.run({&input, 1}, write));
  QUERN_CHECK(file.commit());
  QUERN_CHECK(options.trace.report(encoder));
  return tensors;
}

/// Evaluates an encoder and describes what was written.
int encoder_logits(const Model& model, const LogitsOptions& options, EncoderInput input) {
  if (!options.type_ids.empty()) {
    auto types = parse_ids(options.type_ids);
    if (!types.ok()) return usage(types.error().describe());
    input.types.assign(types->begin(), types->end());
  }
  const auto tensors = write_encoder(model, options, input);
  if (!tensors.ok()) return fail(tensors.error());
  if (options.json) {
    Json json;
    json["output"] = options.output;
    json["tensors"] = *tensors;
    json["isa"] = model.isa();
    json["threads"] = model.threads();
    json["fast"] = options.model.fast;
    put(to_text(json) + "\n");
  }
  return finish_stdout();
}

int logits(const LogitsOptions& options) {
  if (stdin_twice({options.model.path, options.ids}))
    return usage("MODEL and the ids cannot both be stdin");
  auto text = options.ids;
  if (text == "-") {
    auto input = read_input("-");
    if (!input.ok()) return fail(input.error());
    text = std::move(*input);
  }
  const auto ids = parse_ids(text);
  if (!ids.ok()) return usage(ids.error().describe());
  if (ids->empty()) return usage("--ids needs at least one token id; see quern logits --help");
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  if (model->is_encoder()) return encoder_logits(*model, options, {*ids, {}});
  if (!options.type_ids.empty()) return usage("--type-ids is for encoders; this is none");
  const bool has_source = model->is_encoder_decoder();
  if (!has_source && !options.decoder_ids.empty())
    return usage("--decoder-ids is for encoder–decoders; this is none");
  auto decoder_ids = parse_ids(options.decoder_ids);
  if (!decoder_ids.ok()) return usage(decoder_ids.error().describe());
  if (has_source && decoder_ids->empty())
    decoder_ids->assign(model->decoder_start().begin(), model->decoder_start().end());
  const std::vector<TokenId>& read = has_source ? *decoder_ids : *ids;
  SessionOptions session_options;
  session_options.context = std::max<std::int64_t>(1, static_cast<std::int64_t>(read.size()));
  if (has_source) session_options.max_source_tokens = static_cast<std::int64_t>(ids->size());
  session_options.batch_rows = options.batch_rows;
  session_options.output_rows = options.batch_rows;
  session_options.kv = options.model.kv_type();
  session_options.trace_events = options.trace.events();
  auto session = Session::create(*model, session_options);
  if (!session.ok()) return fail(session.error());
  const Status written = has_source ? write_encoder_decoder(*session, *ids, read, options.output)
                                    : write_logits(*session, *ids, options.output);
  if (!written.ok()) return fail(written.error());
  const Status traced = options.trace.report(*session);
  if (!traced.ok()) return fail(traced.error());
  if (options.json) {
    Json json;
    json["output"] = options.output;
    json["tensor"] = "logits";
    json["shape"] = {read.size(), model->vocab_size()};
    json["isa"] = model->isa();
    json["threads"] = model->threads();
    json["kv"] = kv_name(session->kv());
    json["fast"] = options.model.fast;
    put(to_text(json) + "\n");
  }
  return finish_stdout();
}

}  // namespace

void add_logits(CLI::App& app, Action& action) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command =
      app.add_subcommand("logits",
                         "Writes the float32 logits [n, vocab] of a token sequence, an encoder's "
                         "last_hidden_state, embedding and logits, or an encoder–decoder's "
                         "encoder_last_hidden_state and logits");
  options->model.add_to(*command);
  options->trace.add_to(*command);
  command->add_option("--ids", options->ids, "Token ids, separated by commas or spaces; - is stdin")
      ->required();
  command->add_option("--type-ids", options->type_ids,
                      "Token types of an encoder's input, one per id (default: all 0)");
  command->add_option("--decoder-ids", options->decoder_ids,
                      "What an encoder–decoder's decoder reads, --ids being its source (default: "
                      "the model's start tokens)");
  command->add_option("-o,--output", options->output, "The .safetensors file to write")
      ->required()
      ->check(output_name());
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step; changes no bit")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Describes what was written as one JSON document");
  command->footer(
      "Example:\n  quern logits smollm2.quern --ids 504,3575,282 -o logits.safetensors");
  on_chosen(command, options, action, logits);
}

}  // namespace quern::cli
