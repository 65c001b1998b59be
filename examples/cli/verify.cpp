// quern verify: every checksum of a file, and its self-test.
#include <memory>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct VerifyOptions {
  ModelFlags model;
  bool json = false;
};

Json report_json(const Model& model, const VerifyReport& report) {
  Json json;
  json["file"] = shown_path(model.path());
  json["ok"] = report.problems.empty();
  json["tensors_checked"] = report.tensors_checked;
  json["bytes_checked"] = report.bytes_checked;
  json["strings_checked"] = report.strings_checked;
  json["templates_checked"] = report.templates_checked;
  json["logits_checked"] = report.logits_checked;
  if (!report.logits_skipped.empty()) json["logits_skipped"] = report.logits_skipped;
  json["weights_hash"] = hex(report.weights_hash);
  json["isa"] = model.isa();
  json["problems"] = report.problems;
  return json;
}

std::string report_text(const Model& model, const VerifyReport& report) {
  return shown_path(model.path()) + ": " + std::to_string(report.tensors_checked) + " tensors, " +
         std::to_string(report.bytes_checked) + " bytes, " +
         std::to_string(report.strings_checked) + " strings, " +
         std::to_string(report.templates_checked) + " prompts and " +
         std::to_string(report.logits_checked) + " logits checked (" + std::string(model.isa()) +
         "), weights " + hex(report.weights_hash) +
         (report.problems.empty() ? ": all is well\n" : "\n");
}

int verify(const VerifyOptions& options) {
  const auto model = options.model.open();
  if (!model.ok()) return fail(model.error());
  Result<VerifyReport> report = [&] {
    const InterruptScope scope;
    ProgressBar bar("checking");
    return model->verify(bar.callback());
  }();
  if (!report.ok()) return fail(report.error());
  put(options.json ? to_text(report_json(*model, *report)) + "\n" : report_text(*model, *report));
  if (!report->logits_skipped.empty()) tell("logits not compared: " + report->logits_skipped);
  for (const std::string& problem : report->problems)
    tell(problem + "; fetch or convert the file again");
  const int status = finish_stdout();
  return report->problems.empty() ? status : kRefused;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command =
      app.add_subcommand("verify", "Checks every checksum and the embedded self-test");
  options->model.add_path_to(*command, "FILE");
  command
      ->add_option("--threads", options->model.threads, "Threads; 0: what is left to the process")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--json", options->json, "One JSON document");
  command->footer("Example:\n  quern verify smollm2.quern");
  on_chosen(command, options, action, verify);
}

}  // namespace quern::cli
