/// \file
/// Which keys of a generation_config.json change a reply, and which of them quern runs.
#pragma once

#include <string>
#include <vector>

#include "formats/json.h"
#include "quern/result.h"

namespace quern::convert {

/// Refuses, by name, what would change replies and is not implemented, and values that what is
/// implemented cannot have. \param notes gets a sentence about keys that nobody knows.
/// \param file the configuration's path. Errors: kUnsupported, kOutOfRange naming the key.
Status check_generation_keys(const formats::Json& generation, const std::string& file,
                             std::vector<std::string>& notes);

/// What an old checkpoint's config.json says about generating, which newer ones keep in
/// generation_config.json: every key that is known there.
formats::Json generation_of_config(const formats::Json& config);

}  // namespace quern::convert
