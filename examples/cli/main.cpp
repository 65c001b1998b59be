// The program `quern`: reads the command line and hands over to one command.
#include <algorithm>
#include <clocale>
#include <cstdlib>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "command.h"
#include "quern/log.h"
#include "quern/version.h"
#include "terminal.h"

namespace quern::cli {
namespace {

/// QUERN_LOG=load,dispatch,time sends those topics to stderr.
void listen_to_log() {
  if (std::getenv("QUERN_LOG") == nullptr) return;
  set_log_sink([](std::string_view topic, std::string_view line) {
    if (log_wanted(topic)) tell("[" + std::string(topic) + "] " + std::string(line));
  });
}

/// A free text may begin with a dash (`-p "-1 + 1 ="`): such pairs become one `--name=text`.
std::vector<std::string> join_texts(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty() || (args[0] != "run" && args[0] != "chat")) return args;
  constexpr std::string_view kTexts[] = {"-p",     "--prompt", "--system",
                                         "--stop", "--prefix", "--suffix"};
  std::vector<std::string> joined;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool text = std::find(std::begin(kTexts), std::end(kTexts), args[i]) != std::end(kTexts);
    if (text && i + 1 < args.size() && args[i + 1].size() > 1 && args[i + 1][0] == '-') {
      joined.push_back((args[i] == "-p" ? "--prompt" : args[i]) + "=" + args[i + 1]);
      ++i;
    } else {
      joined.push_back(args[i]);
    }
  }
  return joined;
}

/// What a wrong command line is told: which command there is not, or what CLI11 found; and where
/// the right one is described.
std::string sentence_of(const CLI::ParseError& error, const CLI::App& app,
                        const std::vector<std::string>& args) {
  const CLI::App* at = &app;
  std::string place = "quern", sentence = error.what();
  for (std::size_t i = 0; at->get_require_subcommand_min() > 0; ++i) {
    const auto found = at->get_subcommands(
        [&](const CLI::App* one) { return i < args.size() && one->get_name() == args[i]; });
    if (found.empty()) {
      const bool named = i < args.size() && !args[i].empty() && args[i][0] != '-';
      sentence = named ? "there is no command '" + place + " " + args[i] + "'"
                       : "a command is missing behind '" + place + "'";
      if (i < args.size() && !named) sentence = error.what();
      break;
    }
    at = found.front();
    place += " " + args[i];
  }
  while (!sentence.empty() && sentence.back() == '\n') sentence.pop_back();
  constexpr std::string_view kUnread = "Could not convert: ";
  if (sentence.starts_with(kUnread))
    sentence = "a number of another kind or size is expected: " + sentence.substr(kUnread.size());
  return sentence + "; see " + place + " --help";
}

int run_program(int argc, char** argv) {
  CLI::App app{"quern runs foundation models on ordinary processors", "quern"};
  app.set_version_flag("--version", std::string("quern ") + version());
  app.require_subcommand(1);
  app.footer(
      "Try: quern COMMAND --help\nExit status: 0 done, 1 refused or failed, 2 wrong command line, "
      "130 interrupted.");
  Action action;
  for (const auto add :
       {add_run, add_chat, add_convert, add_quantize, add_inspect, add_verify, add_tokenize,
        add_template, add_logits, add_embed, add_rerank, add_bench, add_eval, add_plan})
    add(app, action);
  std::vector<std::string> args = join_texts(argc, argv);
  std::vector<std::string> reversed(args.rbegin(), args.rend());  // CLI11 takes them from the back.
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      std::ostringstream shown;
      app.exit(error, shown);
      put(shown.str());
      return finish_stdout();
    }
    return usage(sentence_of(error, app, args));
  }
  return action ? action() : usage("no command was given; see quern --help");
}

}  // namespace
}  // namespace quern::cli

int main(int argc, char** argv) {
  using namespace quern::cli;
  std::setlocale(LC_CTYPE, "");  // Line editing needs to know the terminal's characters.
  install_signal_handlers();
  try {
    listen_to_log();
    return run_program(argc, argv);
  } catch (const std::bad_alloc&) {
    tell("memory ran out; try a smaller --ctx, --batch or model");
  } catch (const std::exception& error) {
    tell(std::string("this is a bug in quern, please report it: ") + error.what());
  }
  return kRefused;
}
