/// \file
/// The configuration section of a `.quern` file: the canonical keys at the root of one JSON object,
/// and beside them `provenance`: where the weights came from.
#pragma once

#include <string>
#include <string_view>

#include "convert/source_model.h"
#include "formats/json.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::convert {

/// Name and version of what writes files.
std::string tool_name();

/// \return the section's text: the same for the same source, whatever folder it lies in.
std::string write_config_section(const SourceModel& source, std::string_view encoding);

struct ConfigSection {
  Config config;             ///< Canonical; holds "architecture".
  formats::Json provenance;  ///< An object.
};
/// Errors: kMalformed.
Result<ConfigSection> read_config_section(std::string_view json, std::string_view file);

}  // namespace quern::convert
