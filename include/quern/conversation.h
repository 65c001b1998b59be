/// \file
/// Messages for a chat template, without a JSON library of one's own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

/// One message. `role` is the template's word: "system", "user", "assistant", "tool".
struct Message {
  std::string role, content;
};

/// A list of messages. Value type; thread rule: as std::vector.
class Conversation {
 public:
  void add(std::string_view role, std::string_view content);
  /// Forgets the messages from number `count` on.
  void truncate(std::size_t count);
  const std::vector<Message>& messages() const noexcept { return messages_; }

  /// \return what `Model::render` takes: {"messages": […], "add_generation_prompt": …}. Bytes that
  /// are no UTF-8 become U+FFFD.
  std::string json(bool add_generation_prompt = true) const;

 private:
  std::vector<Message> messages_;
};

}  // namespace quern
