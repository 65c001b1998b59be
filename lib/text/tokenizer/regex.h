/// \file
/// Regular expressions of pre-tokenizers over PCRE2, with limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "quern/result.h"

namespace quern::text {

/// A half-open range of bytes.
struct ByteRange {
  std::size_t begin = 0, end = 0;
};

/// A compiled pattern. Move-only. Thread rule: immutable; `find_all` may run in many threads.
class Regex {
 public:
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Compiles a pattern written for Oniguruma.
  /// Errors: kMalformed; kUnsupported where quern was built without PCRE2.
  static Result<Regex> compile(std::string_view oniguruma);
  /// Compiles a pattern in PCRE2's own syntax.
  static Result<Regex> compile_pcre2(std::string_view pattern);

  /// Appends all matches, left to right, in the manner of Oniguruma's iterator: an empty match
  /// right behind the last match does not count. `text` is valid UTF-8.
  /// Errors: kLimit where matching needs more work than is allowed for the text's length.
  Status find_all(std::string_view text, std::vector<ByteRange>& out) const;

  /// The same, with the mark (`(*MARK:name)`) of each match.
  struct Marked {
    ByteRange range;
    std::string_view mark;
  };
  Status find_marked(std::string_view text, std::vector<Marked>& out) const;

  struct Impl;

 private:
  explicit Regex(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// A pattern whose matching is quadratic in a backtracking engine, recognised by its text and found
/// in one pass instead. \return nullptr for any other pattern.
using NativeMatcher = void (*)(std::string_view text, std::vector<ByteRange>& out);
NativeMatcher native_matcher(std::string_view oniguruma) noexcept;

}  // namespace quern::text
