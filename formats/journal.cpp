#include "formats/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/checksum.h"

namespace quern::formats {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;
constexpr std::size_t kHashDigits = 16;

Error system_error(const std::string& path, const char* what) {
  const int code = errno;
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  return Error(full ? ErrorCode::kLimit : ErrorCode::kIo, what)
      .in_file(path)
      .got(std::generic_category().message(code));
}

std::string hash_of(std::string_view text) {
  const std::uint64_t words[] = {xxh64(as_bytes(text))};
  std::string digits = write_words(words);
  return std::string(kHashDigits - digits.size(), '0') + digits;
}

}  // namespace

std::string write_words(std::span<const std::uint64_t> words) {
  std::string text;
  char digits[kHashDigits];
  for (const std::uint64_t word : words) {
    if (!text.empty()) text += ' ';
    text.append(digits, std::to_chars(digits, digits + sizeof(digits), word, 16).ptr);
  }
  return text;
}

std::optional<std::vector<std::uint64_t>> read_words(std::string_view text) {
  std::vector<std::uint64_t> words;
  while (!text.empty()) {
    std::uint64_t word = 0;
    const char* end = text.data() + text.size();
    const auto found = std::from_chars(text.data(), end, word, 16);
    if (found.ec != std::errc() || (found.ptr != end && *found.ptr != ' ')) return std::nullopt;
    words.push_back(word);
    if (found.ptr == end) break;
    text.remove_prefix(static_cast<std::size_t>(found.ptr - text.data()) + 1);
    if (text.empty()) return std::nullopt;
  }
  return words;
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      records_(std::move(other.records_)) {}

Journal& Journal::operator=(Journal&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(records_, other.records_);
  return *this;
}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Journal> Journal::create(const std::string& path) {
  Journal journal;
  journal.path_ = path;
  journal.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (journal.fd_ < 0) return system_error(path, "the journal cannot be created");
  return journal;
}

Result<Journal> Journal::open(const std::string& path) {
  Journal journal;
  journal.path_ = path;
  journal.fd_ = ::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (journal.fd_ < 0) return system_error(path, "the journal cannot be opened");
  const off_t bytes = ::lseek(journal.fd_, 0, SEEK_END);
  if (bytes < 0) return system_error(path, "the journal cannot be read");
  if (static_cast<std::uint64_t>(bytes) > kMostBytes) {
    return Error(ErrorCode::kLimit, "the journal is too long")
        .in_file(path)
        .want("at most " + std::to_string(kMostBytes) + " bytes")
        .got(std::to_string(bytes));
  }
  std::string text(static_cast<std::size_t>(bytes), '\0');
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t part =
        ::pread(journal.fd_, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return system_error(path, "the journal cannot be read");
    if (part == 0) text.resize(done);
    done += static_cast<std::size_t>(part);
  }
  std::uint64_t good_bytes = 0;
  journal.take_lines(text, good_bytes);
  if (::ftruncate(journal.fd_, static_cast<off_t>(good_bytes)) != 0) {
    return system_error(path, "the journal cannot be cut to size");
  }
  return journal;
}

void Journal::take_lines(std::string_view text, std::uint64_t& good_bytes) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos || end < kHashDigits + 1 || text[kHashDigits] != ' ') return;
    const std::string_view record = text.substr(kHashDigits + 1, end - kHashDigits - 1);
    const std::size_t tab = record.find('\t');
    if (tab == std::string_view::npos || text.substr(0, kHashDigits) != hash_of(record)) return;
    records_[std::string(record.substr(0, tab))] = record.substr(tab + 1);
    good_bytes += end + 1;
    text.remove_prefix(end + 1);
  }
}

const std::string* Journal::find(std::string_view key) const noexcept {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &found->second;
}

Status Journal::add(std::string_view key, std::string_view text) {
  if (key.find_first_of("\t\n") != std::string_view::npos ||
      text.find('\n') != std::string_view::npos) {
    return Error(ErrorCode::kInvalidArgument, "a record of a journal is one line")
        .in_file(path_)
        .of(std::string(key));
  }
  const std::string record = std::string(key) + '\t' + std::string(text);
  const std::string line = hash_of(record) + ' ' + record + '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t part = ::write(fd_, line.data() + done, line.size() - done);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) return system_error(path_, "the journal cannot be written");
    done += static_cast<std::size_t>(part);
  }
  records_[std::string(key)] = text;
  return {};
}

}  // namespace quern::formats
