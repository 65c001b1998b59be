#include "convert/config_section.h"

#include <filesystem>

#include "quern/version.h"

namespace quern::convert {
namespace {

using formats::Json;

/// The name of the file or folder alone.
std::string base_name(const std::string& path) {
  if (path.starts_with("/dev/fd/")) return "stdin";  // The number says nothing.
  const auto given = std::filesystem::path(path).lexically_normal();
  return (given.has_filename() ? given : given.parent_path()).filename().string();
}

}  // namespace

std::string tool_name() { return std::string("quern ") + version(); }

std::string write_config_section(const SourceModel& source, std::string_view encoding) {
  Json root = formats::config_to_json(source.config());
  if (source.architecture() != nullptr) {
    root["architecture"] = std::string(source.architecture()->name);
  }
  Json provenance = Json::object();
  provenance["tool"] = tool_name();
  provenance["source"] = {{"file", base_name(source.path())},
                          {"kind", std::string(source.kind())},
                          {"encoding", std::string(encoding)}};
  provenance["metadata"] = source.metadata();
  root["provenance"] = std::move(provenance);
  return formats::dump_json(root, 1);
}

Result<ConfigSection> read_config_section(std::string_view json, std::string_view file) {
  QUERN_TRY(root, formats::parse_json(json, file));
  if (!root.is_object()) {
    return Error(ErrorCode::kMalformed, "the configuration is no JSON object")
        .in_file(std::string(file));
  }
  ConfigSection section;
  section.provenance = Json::object();
  if (const Json* at = root.find("provenance"); at != nullptr) {
    if (at->is_object()) section.provenance = *at;
    root.erase("provenance");
  }
  QUERN_TRY(config, formats::flatten_json(root, file));
  section.config = std::move(config);
  return section;
}

}  // namespace quern::convert
