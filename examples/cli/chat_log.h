/// \file
/// A chat on disk: one JSON object a line, each a whole turn, synced as it is written.
#pragma once

#include <string>
#include <vector>

#include "quern/conversation.h"
#include "quern/result.h"

namespace quern::cli {

/// What a file held, and whether it could be read to its end.
struct LoadedChat {
  std::vector<Message> messages;
  bool whole = true;  ///< False: a line was no turn; `messages` are those before it.
};

/// Reads a chat. Errors: kIo, kLimit.
Result<LoadedChat> load_chat(const std::string& path);

/// Writes a whole chat, replacing the file.
Status save_chat(const std::string& path, const std::vector<Message>& messages);

/// The file that a running chat appends to (`--session`). A process that is killed loses at most
/// the turn under way. Move-only. Thread rule: one owner.
class ChatLog {
 public:
  /// Opens or makes the file. A corrupt one is renamed to "<path>.bad" and what could be read of it
  /// is kept; `note` then says so. Errors: kIo.
  static Result<ChatLog> open(const std::string& path, std::vector<Message>& messages,
                              std::string& note);
  ChatLog(ChatLog&& other) noexcept;
  ChatLog& operator=(ChatLog&&) = delete;
  ~ChatLog();

  /// Appends one turn and syncs. Errors: kIo.
  Status append(const std::vector<Message>& turn);
  /// Replaces everything, as after /reset, /load and /system.
  Status replace(const std::vector<Message>& messages);

 private:
  explicit ChatLog(std::string path) : path_(std::move(path)) {}
  Status reopen();

  std::string path_;
  int descriptor_ = -1;
};

}  // namespace quern::cli
