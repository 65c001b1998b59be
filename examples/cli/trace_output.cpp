#include "trace_output.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "flag_checks.h"
#include "input.h"
#include "output_file.h"
#include "terminal.h"

namespace quern::cli {
namespace {

/// About a thousand decode steps of a model of 30 layers.
constexpr std::int64_t kTraceEvents = std::int64_t{1} << 19;

std::string title(const StepTrace::Part& part) {
  return part.name.empty() || part.name == part.kind ? part.kind : part.kind + " " + part.name;
}

/// One event in Chrome's trace format: a "complete" one, in microseconds.
std::string event_json(const StepTrace::Part& part, const StepTrace::Event& event,
                       std::int64_t origin_ns) {
  const auto microseconds = [](std::int64_t ns) { return static_cast<double>(ns) / 1000.0; };
  Json json;
  json["name"] = title(part);
  json["cat"] = part.kind;
  json["ph"] = "X";
  json["ts"] = microseconds(event.begin_ns - origin_ns);
  json["dur"] = microseconds(event.end_ns - event.begin_ns);
  json["pid"] = 1;
  json["tid"] = event.thread;
  json["args"] = {{"rows", event.rows}};
  if (part.layer >= 0) json["args"]["layer"] = part.layer;
  return to_text(json);
}

Status write_trace(const StepTrace& trace, const std::string& path) {
  QUERN_TRY(file, OutputFile::create(path));
  std::int64_t origin_ns = trace.events.empty() ? 0 : trace.events.front().begin_ns;
  for (const StepTrace::Event& event : trace.events)
    origin_ns = std::min(origin_ns, event.begin_ns);
  QUERN_CHECK(file.write(std::string_view("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")));
  const char* separator = "\n";
  for (const StepTrace::Event& event : trace.events) {
    QUERN_CHECK(file.write(separator + event_json(trace.parts[event.part], event, origin_ns)));
    separator = ",\n";
  }
  QUERN_CHECK(file.write(std::string_view("\n]}\n")));
  return file.commit();
}

struct Row {
  std::string title;
  std::uint64_t calls = 0, busy_ns = 0;
};

/// Parts of the same title, whichever layer they belong to, as one row; the longest first.
std::vector<Row> rows_of(const StepTrace& trace) {
  std::map<std::string, Row> by_title;
  for (const StepTrace::Part& part : trace.parts) {
    if (part.kind == "step" || part.calls == 0) continue;
    Row& row = by_title[title(part)];
    row.calls += part.calls;
    row.busy_ns += part.busy_ns;
  }
  std::vector<Row> rows;
  for (auto& [title, row] : by_title) rows.push_back({title, row.calls, row.busy_ns});
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return a.busy_ns > b.busy_ns; });
  return rows;
}

void tell_table(const StepTrace& trace) {
  const StepTrace::Part& whole = trace.parts.front();
  const double all_ms = static_cast<double>(whole.busy_ns) * 1e-6;
  char line[160];
  std::snprintf(line, sizeof(line), "[time] %llu steps took %.3f ms; of %d threads' time:",
                static_cast<unsigned long long>(whole.calls), all_ms, trace.threads);
  tell(line);
  for (const Row& row : rows_of(trace)) {
    const double ms = static_cast<double>(row.busy_ns) * 1e-6 / trace.threads;
    std::snprintf(line, sizeof(line), "[time] %-28s %10llu calls %12.3f ms %6.2f %%",
                  row.title.c_str(), static_cast<unsigned long long>(row.calls), ms,
                  all_ms > 0 ? 100.0 * ms / all_ms : 0.0);
    tell(line);
  }
}

}  // namespace

void TraceFlags::add_to(CLI::App& command) {
  command
      .add_option("--trace", path,
                  "Writes where the time of each step goes, in Chrome's trace format")
      ->check(output_name());
}

std::int64_t TraceFlags::events() const {
  if (!path.empty()) return kTraceEvents;
  return log_wanted("time") ? 1 : 0;  // The table reads the sums alone.
}

Status TraceFlags::show(const StepTrace& trace) const {
  if (log_wanted("time")) tell_table(trace);
  if (path.empty()) return {};
  if (trace.lost_events > 0)
    tell("the trace lacks the first " + std::to_string(trace.lost_events) + " events");
  return write_trace(trace, path);
}

}  // namespace quern::cli
