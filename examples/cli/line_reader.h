/// \file
/// Lines from a person or a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace quern::cli {

/// On a terminal with editing and history where the program was built with libedit; plain lines
/// otherwise. Thread rule: one thread, one reader.
class LineReader {
 public:
  LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader();

  /// \param prompt shown on a terminal only. \return a line without its end; nullopt at the end of
  /// the input.
  std::optional<std::string> line(const char* prompt);

  /// One message: a line; lines that end in a backslash go on; a line of three quotation marks
  /// opens a block that the next such line closes.
  std::optional<std::string> message();

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;
};

}  // namespace quern::cli
