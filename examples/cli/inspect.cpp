// quern inspect: what a model file holds.
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "convert/convert.h"
#include "flag_checks.h"
#include "input.h"
#include "model_flags.h"
#include "model_path.h"
#include "output_file.h"
#include "quality_table.h"
#include "terminal.h"

namespace quern::cli {
namespace {

struct InspectOptions {
  ModelFlags model;
  std::string compare, picture;
  bool tensors = false, graph = false, json = false;
};

/// One line of a scalar or of a list of scalars.
std::string short_text(const Json& value) {
  if (!value.is_string()) return to_text(value);
  const auto& text = value.get_ref<const std::string&>();
  const std::string line = to_text(value);
  return text.find('\n') == std::string::npos ? line.substr(1, line.size() - 2) : line;
}

bool is_flat(const Json& value) {
  if (!value.is_structured()) return true;
  if (value.is_object()) return false;
  for (const Json& item : value)
    if (item.is_structured()) return false;
  return true;
}

/// Readable lines of any JSON of bounded depth (parse_json bounds it).
void print(const Json& value, const std::string& indent, std::string& out) {
  for (const auto& [key, member] : value.items()) {
    const std::string name = short_text(Json(key));  // A file's own keys may hold anything.
    const std::string label = indent + (value.is_array() ? "- " : name + ": ");
    if (is_flat(member)) {
      out += label + short_text(member) + "\n";
    } else if (value.is_array() && member.is_object()) {
      // A row of a table: its flat members on one line.
      std::string row;
      for (const auto& [column, cell] : member.items())
        row += (row.empty() ? "" : "  ") + short_text(Json(column)) + " " + short_text(cell);
      out += label + row + "\n";
    } else {
      out += indent + name + ":\n";
      print(member, indent + "  ", out);
    }
  }
}

/// The file's own report and that of the one to compare with. Errors: kMissing naming the file that
/// has none.
Result<std::vector<QualityReport>> quality_reports(const InspectOptions& options) {
  std::vector<QualityReport> reports;
  for (const std::string& file : {options.model.path, options.compare}) {
    if (file.empty()) continue;
    QUERN_TRY(path, model_path(file));
    QUERN_TRY(description, convert::describe(path, false));
    QUERN_TRY(json, parse_json(description, path));
    const auto report = json.find("report");
    if (report == json.end() || !report->is_object()) {
      return Error(ErrorCode::kMissing, "the file has no quality report")
          .in_file(path)
          .want("a file that `quern quantize` wrote");
    }
    reports.push_back({shown_path(path), *report});
  }
  return reports;
}

/// The table of the reports, and their picture where asked for.
int show_quality(const InspectOptions& options) {
  const auto reports = quality_reports(options);
  if (!reports.ok()) return fail(reports.error());
  if (!options.picture.empty()) {
    const Status written = write_file(options.picture, quality_picture(*reports));
    if (!written.ok()) return fail(written.error());
    tell("wrote " + options.picture);
  }
  put(quality_table(*reports));
  return finish_stdout();
}

int inspect(const InspectOptions& options) {
  if (!options.compare.empty() || !options.picture.empty()) return show_quality(options);
  const auto path = model_path(options.model.path);
  if (!path.ok()) return fail(path.error());
  const auto description = convert::describe(*path, options.tensors);
  if (!description.ok()) return fail(description.error());
  auto json = parse_json(*description, *path);
  if (!json.ok()) return fail(json.error());
  (*json)["file"] = shown_path(*path);
  std::string graph;
  if (options.graph) {
    const auto model = options.model.open();
    if (!model.ok()) return fail(model.error());
    auto text = model->graph_text();
    if (!text.ok()) return fail(text.error());
    graph = std::move(*text);
  }
  if (options.json) {
    if (options.graph) (*json)["graph"] = graph;
    put(to_text(*json, 2) + "\n");
  } else {
    std::string out, table;
    const auto report = json->find("report");
    if (report != json->end() && report->is_object()) {
      table = "report:\n" + quality_table({{shown_path(*path), *report}});
      json->erase(report);
    }
    print(*json, "", out);
    out += table;
    if (options.graph) out += "graph:\n" + graph;
    put(out);
  }
  return finish_stdout();
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Header, configuration, tokenizer, template, tensors, quality report, hashes");
  options->model.add_path_to(*command, "FILE");
  command->add_flag("--tensors", options->tensors, "Lists every tensor");
  command->add_flag("--graph", options->graph, "Lists the graph's operations with their shapes");
  CLI::Option* compare = command
                             ->add_option("--compare", options->compare,
                                          "Shows the quality report beside that of another file")
                             ->type_name("FILE");
  CLI::Option* picture = command
                             ->add_option("--picture", options->picture,
                                          "Draws the quality report (of both files) as SVG")
                             ->type_name("FILE.svg")
                             ->check(output_name());
  CLI::Option* json = command->add_flag("--json", options->json, "One JSON document");
  compare->excludes(json);
  picture->excludes(json);
  command->footer(
      "Example:\n  quern inspect smollm2.quern --tensors\n"
      "  quern inspect small.quern --compare smaller.quern --picture both.svg");
  on_chosen(command, options, action, inspect);
}

}  // namespace quern::cli
