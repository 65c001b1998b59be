// House style (DESIGN.md section 7), as far as it can be counted.
#include <doctest/doctest.h>
#include <algorithm>
#include <string>

#include "structure/source_tree.h"

namespace quern::structure {
namespace {

bool is_library(const SourceFile& file) {
  return file.is_cpp() && (file.is_under("lib") || file.is_under("formats") ||
                           file.is_under("include") || file.is_under("convert"));
}

/// True if `word` is called in `line`: followed by '(' and not a member of something.
bool calls(const std::string& line, const std::string& word) {
  for (size_t at = line.find(word); at != std::string::npos; at = line.find(word, at + 1)) {
    const char before = at == 0 ? ' ' : line[at - 1];
    const size_t after = line.find_first_not_of(' ', at + word.size());
    const bool is_whole = std::isalnum(static_cast<unsigned char>(before)) == 0 && before != '_';
    const bool is_member = before == '.' || (before == '>' && at > 1 && line[at - 2] == '-');
    if (is_whole && !is_member && after != std::string::npos && line[after] == '(') {
      return true;
    }
  }
  return false;
}

std::vector<std::string> lines_where(bool (*is_wanted)(const SourceFile&),
                                     const std::vector<std::string>& needles) {
  std::vector<std::string> found;
  for (const SourceFile& file : source_tree()) {
    if (!is_wanted(file)) {
      continue;
    }
    for (size_t i = 0; i < file.lines.size(); ++i) {
      for (const std::string& needle : needles) {
        if (file.lines[i].find(needle) != std::string::npos) {
          found.push_back(at(file, i, needle));
        }
      }
    }
  }
  return found;
}

}  // namespace

TEST_CASE("the library never ends the process, prints, or asserts") {
  const std::vector<std::string> calls_forbidden = {
      "abort",   "exit",     "_Exit", "_exit", "quick_exit", "terminate", "printf", "fprintf",
      "vprintf", "vfprintf", "puts",  "fputs", "putchar",    "perror",    "assert"};
  const std::vector<std::string> names_forbidden = {"cout", "cerr", "clog", "stderr", "stdout"};
  const std::vector<std::string> headers_forbidden = {"iostream", "regex", "cassert", "assert.h",
                                                      "print"};
  std::vector<std::string> wrong;
  size_t n_files = 0;
  for (const SourceFile& file : source_tree()) {
    if (!is_library(file)) {
      continue;
    }
    ++n_files;
    for (size_t i = 0; i < file.code.size(); ++i) {
      for (const std::string& name : calls_forbidden) {
        if (calls(file.code[i], name)) {
          wrong.push_back(at(file, i, name));
        }
      }
      for (const std::string& word : words_of(file.code[i])) {
        if (std::find(names_forbidden.begin(), names_forbidden.end(), word) !=
            names_forbidden.end()) {
          wrong.push_back(at(file, i, word));
        }
      }
    }
    for (const Include& include : file.includes()) {
      if (std::find(headers_forbidden.begin(), headers_forbidden.end(), include.target) !=
          headers_forbidden.end()) {
        wrong.push_back(at(file, static_cast<size_t>(include.line) - 1, include.target));
      }
    }
  }
  CHECK(n_files > 0);
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("no file is longer than 500 lines, and no README of a folder than 30") {
  std::vector<std::string> wrong;
  for (const SourceFile& file : source_tree()) {
    const bool is_readme =
        file.path.size() > 10 && file.path.rfind("/README.md") == file.path.size() - 10;
    const bool is_source = file.is_cpp() || file.path.rfind(".cmake") != std::string::npos ||
                           file.path.rfind("CMakeLists.txt") != std::string::npos;
    const size_t limit = is_readme ? 30 : is_source ? 500 : file.lines.size();
    if (file.lines.size() > limit) {
      wrong.push_back(
          at(file, limit,
             std::to_string(file.lines.size()) + " lines, at most " + std::to_string(limit)));
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("no file that defines an architecture is longer than 150 lines") {
  constexpr size_t kLimit = 150;
  std::vector<std::string> wrong;
  size_t n_files = 0;
  for (const SourceFile& file : source_tree()) {
    const bool defines = std::any_of(
        file.code.begin(), file.code.end(),
        [](const std::string& line) { return line.rfind("extern const Architecture k", 0) == 0; });
    if (file.path.rfind("lib/models/", 0) != 0 || !defines ||
        file.path == "lib/models/registry.cpp")
      continue;
    ++n_files;
    if (file.lines.size() > kLimit)
      wrong.push_back(at(file, kLimit, std::to_string(file.lines.size()) + " lines"));
  }
  CHECK(n_files > 50);
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

TEST_CASE("every folder of the design has a README") {
  std::vector<std::string> missing;
  for (const char* folder :
       {"examples", "convert", "lib/runtime", "lib/text", "lib/models", "lib/backends", "lib/graph",
        "lib/kernels", "lib/quant", "formats", "lib/base", "include/quern", "tests", "bench"}) {
    const std::string path = std::string(folder) + "/README.md";
    const auto& files = source_tree();
    if (std::none_of(files.begin(), files.end(),
                     [&](const SourceFile& file) { return file.path == path; })) {
      missing.push_back(path);
    }
  }
  CHECK_MESSAGE(missing.empty(), joined(missing));
}

TEST_CASE("nothing is left to do, and no line knows the machine that it was written on") {
  // Spelled in two parts, so that this file does not find itself.
  const std::vector<std::string> needles = {
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X:",
      "/wo"
      "rk/",
      "/ro"
      "ot/",
      "/ho"
      "me/"};
  const auto found = lines_where([](const SourceFile&) { return true; }, needles);
  CHECK_MESSAGE(found.empty(), joined(found));
  const auto in_temporary = lines_where(is_library, {"/tm"
                                                     "p/"});
  CHECK_MESSAGE(in_temporary.empty(), joined(in_temporary));
}

TEST_CASE("every header guards itself with pragma once") {
  std::vector<std::string> wrong;
  for (const SourceFile& file : source_tree()) {
    const std::string extension =
        file.path.substr(std::min(file.path.rfind('.'), file.path.size()));
    const bool is_header = extension == ".h" || extension == ".cuh";
    const bool is_c_api = file.path == "include/quern/quern.h";  // read by C compilers too
    if (is_header && !is_c_api &&
        std::none_of(file.lines.begin(), file.lines.end(),
                     [](const std::string& line) { return line == "#pragma once"; })) {
      wrong.push_back(file.path);
    }
  }
  CHECK_MESSAGE(wrong.empty(), joined(wrong));
}

}  // namespace quern::structure
