#include "structure/source_tree.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>

namespace quern::structure {
namespace {

namespace fs = std::filesystem;

constexpr std::array kFolders = {"include", "lib",   "formats", "convert", "examples",
                                 "tests",   "bench", ".cmake",  ".ci"};
constexpr std::array kTopFiles = {"CMakeLists.txt", "CMakePresets.json", "README.md", "bootstrap"};
constexpr std::array kExtensions = {".h",   ".hpp",   ".inc", ".c",   ".cpp",   ".cu",
                                    ".cuh", ".cmake", ".md",  ".txt", ".jinja", ".json",
                                    ".in",  ".sh",    ".py",  ".map", ""};

bool ends_with_any(const std::string& path, std::initializer_list<const char*> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) {
    return path.size() >= end.size() &&
           path.compare(path.size() - end.size(), end.size(), end) == 0;
  });
}

/// Blanks comments and literals. Raw strings are recognised with any delimiter.
class Stripper {
 public:
  explicit Stripper(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
      code_.push_back(strip(line));
    }
  }
  std::vector<std::string> take() { return std::move(code_); }

 private:
  std::string strip(const std::string& line) {
    std::string out(line.size(), ' ');
    for (size_t i = 0; i < line.size();) {
      i = in_block_comment_ ? skip_until(line, i, "*/", in_block_comment_)
          : in_raw_string_  ? skip_until(line, i, raw_end_, in_raw_string_)
                            : step(line, i, out);
    }
    return out;
  }

  static size_t skip_until(const std::string& line, size_t i, const std::string& end,
                           bool& inside) {
    const size_t found = line.find(end, i);
    if (found == std::string::npos) {
      return line.size();
    }
    inside = false;
    return found + end.size();
  }

  size_t step(const std::string& line, size_t i, std::string& out) {
    if (line.compare(i, 2, "//") == 0) {
      return line.size();
    }
    if (line.compare(i, 2, "/*") == 0) {
      in_block_comment_ = true;
      return i + 2;
    }
    if (line.compare(i, 2, "R\"") == 0) {
      const size_t open = line.find('(', i);
      if (open != std::string::npos) {
        raw_end_ = ")" + line.substr(i + 2, open - i - 2) + "\"";
        in_raw_string_ = true;
        return open + 1;
      }
    }
    const bool is_digit_separator = line[i] == '\'' && i > 0 && std::isxdigit(line[i - 1]) != 0 &&
                                    i + 1 < line.size() && std::isxdigit(line[i + 1]) != 0;
    if ((line[i] == '"' || line[i] == '\'') && !is_digit_separator) {
      out[i] = line[i];
      size_t end = i + 1;
      while (end < line.size() && line[end] != line[i]) {
        end += line[end] == '\\' ? 2 : 1;
      }
      if (end < line.size()) {
        out[end] = line[end];
      }
      return end + 1;
    }
    out[i] = line[i];
    return i + 1;
  }

  std::vector<std::string> code_;
  bool in_block_comment_ = false;
  bool in_raw_string_ = false;
  std::string raw_end_;
};

SourceFile read(const fs::path& root, const fs::path& path) {
  SourceFile file;
  file.path = path.lexically_relative(root).generic_string();
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    file.lines.push_back(line);
  }
  file.code = file.is_cpp() ? Stripper(file.lines).take() : file.lines;
  return file;
}

std::vector<SourceFile> read_tree() {
  const fs::path root = QUERN_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (const char* name : kTopFiles) {
    if (fs::exists(root / name)) {
      files.push_back(read(root, root / name));
    }
  }
  for (const char* folder : kFolders) {
    if (!fs::exists(root / folder)) {
      continue;
    }
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      const bool is_text =
          std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
      if (entry.is_regular_file() && is_text) {
        files.push_back(read(root, entry.path()));
      }
    }
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return files;
}

}  // namespace

bool SourceFile::is_cpp() const {
  return ends_with_any(path, {".h", ".hpp", ".inc", ".c", ".cpp", ".cu", ".cuh"});
}

bool SourceFile::is_under(const std::string& folder) const {
  return path.compare(0, folder.size() + 1, folder + "/") == 0;
}

std::vector<Include> SourceFile::includes() const {
  std::vector<Include> found;
  for (size_t i = 0; i < lines.size(); ++i) {
    // The blanked line tells whether the directive is real, the line itself what it names.
    const std::vector<std::string> words = words_of(code[i]);
    const size_t hash = code[i].find_first_not_of(' ');
    if (hash == std::string::npos || code[i][hash] != '#' || words.empty() ||
        words[0] != "include") {
      continue;
    }
    const size_t open = lines[i].find_first_of("\"<");
    const size_t close = open == std::string::npos ? open : lines[i].find_first_of("\">", open + 1);
    if (close != std::string::npos) {
      found.push_back({lines[i].substr(open + 1, close - open - 1), lines[i][open] == '"',
                       static_cast<int>(i) + 1});
    }
  }
  return found;
}

const std::vector<SourceFile>& source_tree() {
  static const std::vector<SourceFile> files = read_tree();
  return files;
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : line + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(word);
      word.clear();
    }
  }
  return words;
}

std::string at(const SourceFile& file, size_t line_index, const std::string& what) {
  return file.path + ":" + std::to_string(line_index + 1) + ": " + what;
}

std::string joined(const std::vector<std::string>& entries) {
  std::string text;
  for (const std::string& entry : entries) {
    text += entry + "\n";
  }
  return text;
}

}  // namespace quern::structure
