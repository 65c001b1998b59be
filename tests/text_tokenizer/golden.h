/// \file
/// Reads the tokenizer goldens.
#pragma once

#include <string>
#include <vector>

#include "formats/json.h"

namespace quern::testing {

struct GoldenCase {
  std::string text, decoded, decoded_with_special;
  std::vector<std::int32_t> ids;
  bool add_special = false, parse_special = false, has_decoded = false;
};

/// \return the whole file, or an empty string where there is none.
std::string read_file(const std::string& path);
/// \return whether the goldens are there; says so, and fails under CI, where they are not.
bool have_goldens();
/// Folders of goldens/tokenizers in order.
std::vector<std::string> golden_folders();
std::string golden_path(const std::string& folder, const std::string& file);
std::vector<GoldenCase> read_cases(const std::string& folder);

}  // namespace quern::testing
