#include "golden.h"
#include "support/json_lists.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace quern::testing {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

bool have_goldens() {
  if (fs::is_directory(fs::path(QUERN_GOLDENS_DIR) / "tokenizers")) return true;
  if (std::getenv("CI") != nullptr) {
    FAIL("the tokenizer goldens are absent");
  }
  MESSAGE("the tokenizer goldens are absent; set QUERN_GOLDENS_DIR");
  return false;
}

std::vector<std::string> golden_folders() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(fs::path(QUERN_GOLDENS_DIR) / "tokenizers")) {
    out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string golden_path(const std::string& folder, const std::string& file) {
  return std::string(QUERN_GOLDENS_DIR) + "/tokenizers/" + folder + "/" + file;
}

std::vector<GoldenCase> read_cases(const std::string& folder) {
  std::vector<GoldenCase> out;
  std::istringstream lines(read_file(golden_path(folder, "cases.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    const auto json = formats::parse_json(line, folder);
    REQUIRE_MESSAGE(json.ok(), line);
    const formats::Json& row = *json;
    GoldenCase one;
    one.text = row["text"].string();
    one.ids = testing::numbers_of<std::int32_t>(row["ids"]);
    one.add_special = row["add_special"].boolean();
    one.parse_special = row["parse_special"].boolean();
    one.has_decoded = row["decoded"].is_string();
    if (one.has_decoded) one.decoded = row["decoded"].string();
    one.decoded_with_special =
        row.contains("decoded_with_special") ? row["decoded_with_special"].string() : one.decoded;
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace quern::testing
