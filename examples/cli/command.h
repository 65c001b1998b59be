/// \file
/// What every command of the program shares: its place in the command line, and how it ends.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "quern/result.h"

namespace quern::cli {

/// Exit statuses, as the contract of the command line has them.
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;        ///< The input was refused or the work failed.
inline constexpr int kUsage = 2;          ///< The command line was wrong.
inline constexpr int kInterrupted = 130;  ///< Ctrl-C.

/// What the chosen command does once the whole command line has been read. \return the exit status.
using Action = std::function<int()>;

// One file per command: each adds its subcommand to `app`; choosing it sets `action`.
void add_run(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_template(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_embed(CLI::App& app, Action& action);
void add_rerank(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);

// Commands below `eval`.
void add_eval_choice(CLI::App& group, Action& action);
void add_eval_likelihood(CLI::App& group, Action& action);

/// Ties a subcommand to the function that does its work; `options` lives as long as the program.
template <class Options>
void on_chosen(CLI::App* command, std::shared_ptr<Options> options, Action& action,
               int (*work)(const Options&)) {
  command->callback(
      [options, &action, work] { action = [options, work] { return work(*options); }; });
}

}  // namespace quern::cli
