#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace quern::structure {

/// One `#include "..."` or `#include <...>`.
struct Include {
  std::string target;  ///< what stands between the quotes or brackets
  bool is_quoted = false;
  int line = 0;
};

/// One text file of the repository.
struct SourceFile {
  std::string path;                ///< relative to the root, with '/'
  std::vector<std::string> lines;  ///< as they stand in the file
  std::vector<std::string> code;   ///< the same lines, comments and the text of literals blanked

  bool is_cpp() const;
  bool is_under(const std::string& folder) const;
  std::vector<Include> includes() const;
};

/// Every text file that belongs to the repository: the known folders and the known files at the
/// top, without build folders, models or anything else that lies about.
const std::vector<SourceFile>& source_tree();

/// The words [A-Za-z0-9_]+ of a line of code, in order.
std::vector<std::string> words_of(const std::string& line);

/// "path:line: what", the way compilers say it.
std::string at(const SourceFile& file, size_t line_index, const std::string& what);

/// One line of text per entry; "" for none.
std::string joined(const std::vector<std::string>& entries);

}  // namespace quern::structure
