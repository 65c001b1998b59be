/// \file
/// Notes that survive the death of the process that made them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"

namespace quern::formats {

/// A file of records, key → text, that only grows: a line each, "checksum key TAB text". Whatever
/// kills the process, all records but the one being written are there when it is opened again.
/// What it says of other files must be checked against them: nothing is synced. Move-only. Thread
/// rule: one owner.
class Journal {
 public:
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&& other) noexcept;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal();

  /// An empty one. Errors: kIo, kLimit.
  static Result<Journal> create(const std::string& path);
  /// With the records up to the first damaged line; the rest is cut off. Errors: kIo; kLimit for a
  /// file of more than 256 MiB.
  static Result<Journal> open(const std::string& path);

  /// \return the text that was noted last, or null. Valid until the next `add`.
  const std::string* find(std::string_view key) const noexcept;
  std::size_t size() const noexcept { return records_.size(); }
  /// Errors: kInvalidArgument for a tab in the key or a line break in either; kIo, kLimit.
  Status add(std::string_view key, std::string_view text);

 private:
  Journal() = default;
  void take_lines(std::string_view text, std::uint64_t& good_bytes);

  std::string path_;
  int fd_ = -1;
  std::map<std::string, std::string, std::less<>> records_;
};

/// Numbers as a record's text and back, every bit of them. \return nullopt for another text.
std::string write_words(std::span<const std::uint64_t> words);
std::optional<std::vector<std::uint64_t>> read_words(std::string_view text);

}  // namespace quern::formats
