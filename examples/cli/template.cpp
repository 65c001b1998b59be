// quern template: renders a conversation exactly as a model would read it.
#include <memory>
#include <string>

#include "command.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct RenderFlags {
  ModelFlags model;
  std::string json, template_file;
  TemplateOptions values;
};

/// The library has texts, not files: says which file an error lies in.
Result<Prompt> named(Result<Prompt> prompt, const RenderFlags& options) {
  if (prompt.ok()) return prompt;
  Error& error = prompt.error();
  if (error.file == "conversation" || error.field == "conversation")
    error.file = input_name(options.json);
  if (error.file == "chat_template") error.file = input_name(options.template_file);
  return prompt;
}

Result<Prompt> render(const RenderFlags& options) {
  QUERN_TRY(conversation, read_input(options.json));
  if (!options.template_file.empty()) {
    QUERN_TRY(source, read_input(options.template_file, 16U << 20));
    // MODEL may lend its special tokens, but need not exist for a template of one's own.
    TemplateOptions values = options.values;
    if (!options.model.path.empty()) {
      QUERN_TRY(model, options.model.open(true));
      const auto lend = [&model](std::string& slot, TokenId id) {
        if (!slot.empty() || id < 0 || !model.has_tokenizer()) return;
        auto text = model.decode(std::span(&id, 1), false);
        if (text.ok()) slot = std::move(*text);
      };
      lend(values.bos_token, model.bos());
      lend(values.eos_token, model.eos());
    }
    return named(render_template(source, conversation, values), options);
  }
  QUERN_TRY(model, options.model.open(true));
  return named(model.render(conversation, options.values), options);
}

int print_prompt(const RenderFlags& options) {
  if (options.model.path.empty() && options.template_file.empty())
    return usage("give a MODEL, or a template with --template FILE; see quern template --help");
  if (stdin_twice({options.model.path, options.json, options.template_file}))
    return usage("only one of MODEL, --json and --template can be stdin");
  if (!options.values.now.empty() &&
      !render_template("{{ strftime_now('%Y') }}", "{}", options.values).ok())
    return usage("--now: '" + options.values.now +
                 "' is no moment: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS; see quern template --help");
  const auto prompt = render(options);
  if (!prompt.ok()) {
    if (prompt.error().code != ErrorCode::kTemplateRaised) return fail(prompt.error());
    tell(prompt.error().message);  // The template's own words, and nothing else.
    return kRefused;
  }
  put(prompt->text);
  return finish_stdout();
}

}  // namespace

void add_template(CLI::App& app, Action& action) {
  auto options = std::make_shared<RenderFlags>();
  CLI::App* command = app.add_subcommand("template", "Renders a conversation with a chat template");
  command->add_option("MODEL", options->model.path, "The model whose template is used");
  command
      ->add_option("--json", options->json,
                   "File with messages, and optionally tools, documents, add_generation_prompt and "
                   "further variables; - is stdin")
      ->required();
  command->add_option("--template", options->template_file,
                      "A Jinja file in place of the model's own; MODEL may then be left out");
  command->add_option("--bos", options->values.bos_token, "bos_token; default: the model's");
  command->add_option("--eos", options->values.eos_token, "eos_token; default: the model's");
  command->add_option("--now", options->values.now, "ISO 8601 time for strftime_now");
  command->footer(
      "Prints exactly the prompt, with no newline added.\n"
      "Example:\n  quern template smollm2.quern --json conversation.json");
  on_chosen(command, options, action, print_prompt);
}

}  // namespace quern::cli
