// quern logits: the float32 logits of every token of a sequence.
#include <algorithm>
#include <memory>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "output_file.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct LogitsOptions {
  ModelFlags model;
  std::string ids, output;
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

int logits(const LogitsOptions& options) {
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
  SessionOptions session_options;
  session_options.context = static_cast<std::int64_t>(ids->size());
  session_options.batch_rows = options.batch_rows;
  session_options.output_rows = options.batch_rows;
  session_options.kv = options.model.kv_type();
  auto session = Session::create(*model, session_options);
  if (!session.ok()) return fail(session.error());
  const Status written = write_logits(*session, *ids, options.output);
  if (!written.ok()) return fail(written.error());
  if (options.json) {
    Json json;
    json["output"] = options.output;
    json["tensor"] = "logits";
    json["shape"] = {ids->size(), model->vocab_size()};
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
      app.add_subcommand("logits", "Writes the float32 logits [n, vocab] of a token sequence");
  options->model.add_to(*command);
  command->add_option("--ids", options->ids, "Token ids, separated by commas or spaces; - is stdin")
      ->required();
  command->add_option("-o,--output", options->output, "The .safetensors file to write")->required();
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step; changes no bit")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Describes what was written as one JSON document");
  command->footer(
      "Example:\n  quern logits smollm2.quern --ids 504,3575,282 -o logits.safetensors");
  on_chosen(command, options, action, logits);
}

}  // namespace quern::cli
