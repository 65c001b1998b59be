#include "quern/conversation.h"

#include "formats/json.h"

namespace quern {

void Conversation::add(std::string_view role, std::string_view content) {
  messages_.push_back({std::string(role), std::string(content)});
}

void Conversation::truncate(std::size_t count) {
  if (count < messages_.size()) messages_.resize(count);
}

std::string Conversation::json(bool add_generation_prompt) const {
  formats::Json list = formats::Json::array();
  for (const Message& message : messages_) {
    formats::Json entry = formats::Json::object();
    entry["role"] = message.role;
    entry["content"] = message.content;
    list.push_back(std::move(entry));
  }
  formats::Json document = formats::Json::object();
  document["messages"] = std::move(list);
  document["add_generation_prompt"] = add_generation_prompt;
  return formats::dump_json(document);
}

}  // namespace quern
