// quern plan: what sessions would take, before anything is allocated.
#include <cstdio>
#include <memory>
#include <string>

#include "command.h"
#include "flag_checks.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct PlanOptions {
  ModelFlags model;
  std::int64_t context = 0, batch_rows = SessionOptions().batch_rows;
  int parallel = 1;
  bool json = false;
};

std::string row(const char* what, std::uint64_t bytes) {
  char line[96];
  std::snprintf(line, sizeof(line), "%-10s %15llu bytes  %10.2f MiB\n", what,
                static_cast<unsigned long long>(bytes), static_cast<double>(bytes) / 1048576.0);
  return line;
}

int plan(const PlanOptions& options) {
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  SessionOptions session;
  session.context = options.context;
  session.batch_rows = options.batch_rows;
  session.kv = options.model.kv_type();
  const auto memory = model->plan(session, options.parallel);
  if (!memory.ok()) return fail(memory.error());
  const std::uint64_t total = memory->weights_bytes + memory->kv_bytes + memory->scratch_bytes;
  if (options.json) {
    Json json;
    json["model"] = shown_path(model->path());
    json["weights_bytes"] = memory->weights_bytes;
    json["kv_bytes"] = memory->kv_bytes;
    json["scratch_bytes"] = memory->scratch_bytes;
    json["total_bytes"] = total;
    json["device_bytes"] = memory->device_bytes;
    json["context"] =
        options.context > 0 ? options.context : std::min<std::int64_t>(model->max_seq_len(), 8192);
    json["parallel"] = options.parallel;
    json["threads"] = model->threads();
    json["isa"] = model->isa();
    put(to_text(json) + "\n");
  } else {
    put(row("weights", memory->weights_bytes) + row("kv cache", memory->kv_bytes) +
        row("scratch", memory->scratch_bytes) + row("total", total) +
        (memory->device_bytes > 0 ? row("on the GPU", memory->device_bytes) : ""));
  }
  return finish_stdout();
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      app.add_subcommand("plan", "Exact bytes of weights, KV cache and scratch, before allocating");
  options->model.add_to(*command);
  command
      ->add_option("--ctx", options->context, "Positions kept; default: the longest, at most 8192")
      ->check(above_zero());
  command->add_option("--batch", options->batch_rows, "Rows of a prefill step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--parallel", options->parallel, "Conversations at once")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON document");
  command->footer("Example:\n  quern plan smollm2.quern --ctx 4096 --parallel 4");
  on_chosen(command, options, action, plan);
}

}  // namespace quern::cli
