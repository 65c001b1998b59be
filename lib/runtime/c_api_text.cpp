#include <new>

#include "runtime/c_api.h"

using quern::Status;
using quern::runtime::c_call;
using quern::runtime::copy_string;
using quern::runtime::copy_tokens;
using quern::runtime::null_argument;
using quern::runtime::view_argument;

quern_code quern_encode(const quern_model* model, const char* text, size_t length,
                        int32_t add_special, int32_t parse_special, quern_tokens* tokens) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (tokens == nullptr) return null_argument("tokens");
    *tokens = {nullptr, 0};
    QUERN_TRY(input, view_argument(text, length, "text"));
    QUERN_TRY(ids, model->model.encode(input, {add_special != 0, parse_special != 0}));
    *tokens = copy_tokens(ids);
    return {};
  });
}

quern_code quern_decode(const quern_model* model, const quern_token* tokens, size_t count,
                        int32_t skip_special, quern_string* text) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (text == nullptr) return null_argument("text");
    *text = {nullptr, 0};
    if (tokens == nullptr && count != 0) return null_argument("tokens");
    QUERN_TRY(decoded, model->model.decode({tokens, count}, skip_special != 0));
    *text = copy_string(decoded);
    return {};
  });
}

quern_code quern_render(const quern_model* model, const char* conversation, size_t length,
                        quern_string* prompt) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (prompt == nullptr) return null_argument("prompt");
    *prompt = {nullptr, 0};
    QUERN_TRY(json, view_argument(conversation, length, "conversation"));
    QUERN_TRY(rendered, model->model.render(json));
    *prompt = copy_string(rendered.text);
    return {};
  });
}

quern_code quern_encode_chat(const quern_model* model, const char* conversation, size_t length,
                             quern_tokens* tokens) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (tokens == nullptr) return null_argument("tokens");
    *tokens = {nullptr, 0};
    QUERN_TRY(json, view_argument(conversation, length, "conversation"));
    QUERN_TRY(rendered, model->model.render(json));
    QUERN_TRY(ids, model->model.encode(rendered));
    *tokens = copy_tokens(ids);
    return {};
  });
}

int32_t quern_is_end_token(const quern_model* model, quern_token token) {
  return model != nullptr && model->model.is_end_token(token) ? 1 : 0;
}

quern_code quern_conversation_create(quern_conversation** conversation) {
  return c_call([&]() -> Status {
    if (conversation == nullptr) return null_argument("conversation");
    *conversation = new quern_conversation;
    return {};
  });
}

void quern_conversation_free(quern_conversation* conversation) { delete conversation; }

quern_code quern_conversation_add(quern_conversation* conversation, const char* role,
                                  size_t role_length, const char* content, size_t content_length) {
  return c_call([&]() -> Status {
    if (conversation == nullptr) return null_argument("conversation");
    QUERN_TRY(who, view_argument(role, role_length, "role"));
    QUERN_TRY(what, view_argument(content, content_length, "content"));
    conversation->conversation.add(who, what);
    return {};
  });
}

quern_code quern_conversation_json(const quern_conversation* conversation,
                                   int32_t add_generation_prompt, quern_string* json) {
  return c_call([&]() -> Status {
    if (conversation == nullptr) return null_argument("conversation");
    if (json == nullptr) return null_argument("json");
    *json = {nullptr, 0};
    *json = copy_string(conversation->conversation.json(add_generation_prompt != 0));
    return {};
  });
}
