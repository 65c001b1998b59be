#include "input.h"

#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

namespace quern::cli {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Result<File> open_input(const std::string& path) {
  if (path == "-") return File(stdin);
  struct stat info {};
  // A directory opens but does not read, and a FIFO would wait for ever.
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return Error(ErrorCode::kIo, "this is a directory").in_file(path).want("a file");
  File file(std::fopen(path.c_str(), "rb"));
  if (!file)
    return Error(ErrorCode::kIo, std::string("cannot be opened: ") + std::strerror(errno))
        .in_file(path);
  return file;
}

/// Reads at most `limit` bytes.
Result<std::string> read_up_to(const std::string& path, std::uint64_t limit) {
  QUERN_TRY(file, open_input(path));
  std::string text;
  char buffer[65536];
  while (text.size() < limit) {
    const std::size_t wanted = std::min<std::uint64_t>(sizeof(buffer), limit - text.size());
    const std::size_t got = std::fread(buffer, 1, wanted, file.get());
    text.append(buffer, got);
    if (got < wanted) break;
  }
  if (std::ferror(file.get()) != 0)
    return Error(ErrorCode::kIo, "cannot be read").in_file(input_name(path));
  return text;
}

bool deeper_than(std::string_view json, int limit) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::string input_name(const std::string& path) { return path == "-" ? "stdin" : path; }

Result<std::string> read_input(const std::string& path, std::uint64_t max_bytes) {
  QUERN_TRY(text, read_up_to(path, max_bytes + 1));
  if (text.size() > max_bytes)
    return Error(ErrorCode::kLimit, "the input is too long")
        .in_file(input_name(path))
        .want("at most " + std::to_string(max_bytes) + " bytes");
  return text;
}

Result<std::string> read_beginning(const std::string& path, std::uint64_t max_bytes) {
  QUERN_TRY(text, read_up_to(path, max_bytes));
  if (text.size() < max_bytes) return text;
  // Back to the last character's first byte; drop it where it is longer than what is left.
  std::size_t start = text.size();
  while (start > 0 && text.size() - start < 4 &&
         (static_cast<unsigned char>(text[start - 1]) & 0xC0U) == 0x80U)
    --start;
  if (start == 0) return text;
  const auto lead = static_cast<unsigned char>(text[start - 1]);
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (start - 1 + length > text.size()) text.resize(start - 1);
  return text;
}

Result<Json> parse_json(std::string_view text, const std::string& name) {
  if (deeper_than(text, 64))
    return Error(ErrorCode::kLimit, "the JSON is nested too deeply")
        .in_file(name)
        .want("64 levels");
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) return Error(ErrorCode::kMalformed, "this is no JSON").in_file(name);
  return value;
}

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Result<std::vector<TokenId>> parse_ids(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<TokenId> ids;
  for (std::size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;
       at = text.find_first_not_of(kBetween, at)) {
    const std::size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    TokenId id = 0;
    const auto [stopped, code] = std::from_chars(text.data() + at, text.data() + end, id);
    if (code != std::errc() || stopped != text.data() + end)
      return Error(ErrorCode::kInvalidArgument, "a token id is a whole number")
          .of("ids")
          .got(std::string(text.substr(at, std::min<std::size_t>(end - at, 32))));
    ids.push_back(id);
    at = end;
  }
  return ids;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string hex(std::uint64_t value) {
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(value));
  return digits;
}

}  // namespace quern::cli
