#include "chat_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "input.h"
#include "output_file.h"

namespace quern::cli {
namespace {

constexpr std::uint64_t kMaxBytes = 256U << 20;

Error io_error(const char* what, const std::string& path) {
  return Error(ErrorCode::kIo, std::string(what) + ": " + std::strerror(errno)).in_file(path);
}

std::string turn_line(const std::vector<Message>& turn) {
  Json list = Json::array();
  for (const Message& message : turn)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return to_text(Json{{"messages", std::move(list)}}) + "\n";
}

/// \return whether the line is a turn; its messages are added.
bool add_turn(std::string_view line, std::vector<Message>& messages) {
  const auto turn = parse_json(line, "");
  if (!turn.ok() || !turn->is_object()) return false;
  const auto list = turn->find("messages");
  if (list == turn->end() || !list->is_array()) return false;
  const std::size_t before = messages.size();
  for (const Json& entry : *list) {
    const bool good = entry.is_object() && entry.contains("role") && entry["role"].is_string() &&
                      entry.contains("content") && entry["content"].is_string();
    if (!good) {
      messages.resize(before);  // Turns are kept whole or not at all.
      return false;
    }
    messages.push_back({entry["role"].get<std::string>(), entry["content"].get<std::string>()});
  }
  return true;
}

Status write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("the session cannot be written", path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return fsync(descriptor) == 0 ? Status()
                                : Status(io_error("the session cannot be written", path));
}

}  // namespace

Result<LoadedChat> load_chat(const std::string& path) {
  QUERN_TRY(text, read_input(path, kMaxBytes));
  LoadedChat chat;
  for (const std::string_view line : split_lines(text)) {
    chat.whole = add_turn(line, chat.messages);
    if (!chat.whole) return chat;
  }
  // A last line without its end may be the rest of a longer one, even if it reads well.
  chat.whole = text.empty() || text.back() == '\n';
  return chat;
}

Status save_chat(const std::string& path, const std::vector<Message>& messages) {
  return write_file(path, messages.empty() ? std::string() : turn_line(messages));
}

Result<ChatLog> ChatLog::open(const std::string& path, std::vector<Message>& messages,
                              std::string& note) {
  ChatLog log(path);
  QUERN_CHECK(log.reopen());  // Locked before it is read: another chat may be writing it.
  QUERN_TRY(chat, load_chat(path));
  messages = std::move(chat.messages);
  if (chat.whole) return log;
  const std::string bad = path + ".bad";
  if (std::rename(path.c_str(), bad.c_str()) != 0) return io_error("cannot be renamed", path);
  QUERN_CHECK(log.replace(messages));
  note = "the session file was damaged and is now " + bad + "; " + std::to_string(messages.size()) +
         " messages of it are kept";
  return log;
}

ChatLog::ChatLog(ChatLog&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

ChatLog::~ChatLog() {
  if (descriptor_ >= 0) close(descriptor_);
}

Status ChatLog::reopen() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) return io_error("the session cannot be opened", path_);
  // Two chats would lose each other's turns. A file system without locks is taken as it is.
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return Error(ErrorCode::kIo, "another chat has this session open").in_file(path_);
  return {};
}

Status ChatLog::append(const std::vector<Message>& turn) {
  return write_all(descriptor_, turn_line(turn), path_);
}

Status ChatLog::replace(const std::vector<Message>& messages) {
  QUERN_CHECK(save_chat(path_, messages));
  return reopen();
}

}  // namespace quern::cli
