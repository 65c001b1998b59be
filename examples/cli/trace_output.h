/// \file
/// Where a command's time goes: `--trace FILE` and `QUERN_LOG=time`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "quern/result.h"
#include "quern/trace.h"

namespace quern::cli {

/// What a command that evaluates a model was asked to tell of its steps.
struct TraceFlags {
  std::string path;

  /// --trace.
  void add_to(CLI::App& command);
  /// What SessionOptions and EncoderOptions are to record: nothing that nobody will read.
  std::int64_t events() const;
  /// Writes the file and prints the table, as asked for, at the end of the work of a session or an
  /// encoder.
  template <class Evaluator>
  Status report(const Evaluator& evaluator) const {
    if (events() == 0) return {};
    QUERN_TRY(trace, evaluator.trace());
    return show(trace);
  }

 private:
  Status show(const StepTrace& trace) const;
};

}  // namespace quern::cli
