/// \file
/// Where a command's time goes: `--trace FILE` and `QUERN_LOG=time`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "quern/session.h"

namespace quern::cli {

/// What a command that evaluates a model was asked to tell of its steps.
struct TraceFlags {
  std::string path;

  /// --trace.
  void add_to(CLI::App& command);
  /// Lets the session record, where anybody will read it.
  void apply_to(SessionOptions& options) const;
  /// Writes the file and prints the table, as asked for, at the end of the command's work.
  Status report(const Session& session) const;
};

}  // namespace quern::cli
