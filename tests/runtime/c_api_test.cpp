#include "quern/quern.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>

#include "convert/convert.h"
#include "formats/quern_writer.h"
#include "quern/result.h"
#include "support.h"
#include "support/temp_dir.h"

namespace {

using namespace quern::test;

std::string_view text_of(quern_view view) { return {view.data, view.length}; }

quern_error last() {
  quern_error error{};
  error.size = sizeof(error);
  quern_last_error(&error);
  return error;
}

/// The trained decoder as a `.quern` file, opened through C; null without the reference data.
struct Opened {
  quern::testing::TempDir folder;
  std::string path = folder.file("handbook.quern");
  quern_model* model = nullptr;

  Opened() {
    const auto source = handbook_model();
    if (!source) return;
    quern::convert::ConvertOptions options;
    options.self_test = false;
    REQUIRE(quern::convert::convert(*source, path, options).ok());
    quern_model_options open_options;
    quern_model_options_init(&open_options);
    open_options.threads = 1;
    REQUIRE(quern_model_open(path.data(), path.size(), &open_options, &model) == QUERN_OK);
  }
  ~Opened() { quern_model_free(model); }
};

}  // namespace

TEST_CASE("the codes of C are those of C++") {
  using quern::ErrorCode;
  CHECK(QUERN_IO == static_cast<int>(ErrorCode::kIo));
  CHECK(QUERN_TRUNCATED == static_cast<int>(ErrorCode::kTruncated));
  CHECK(QUERN_MALFORMED == static_cast<int>(ErrorCode::kMalformed));
  CHECK(QUERN_UNSUPPORTED == static_cast<int>(ErrorCode::kUnsupported));
  CHECK(QUERN_OUT_OF_RANGE == static_cast<int>(ErrorCode::kOutOfRange));
  CHECK(QUERN_CHECKSUM == static_cast<int>(ErrorCode::kChecksum));
  CHECK(QUERN_MISSING == static_cast<int>(ErrorCode::kMissing));
  CHECK(QUERN_MISMATCH == static_cast<int>(ErrorCode::kMismatch));
  CHECK(QUERN_LIMIT == static_cast<int>(ErrorCode::kLimit));
  CHECK(QUERN_INVALID_ARGUMENT == static_cast<int>(ErrorCode::kInvalidArgument));
  CHECK(QUERN_OUT_OF_MEMORY == static_cast<int>(ErrorCode::kOutOfMemory));
  CHECK(QUERN_CANCELLED == static_cast<int>(ErrorCode::kCancelled));
  CHECK(QUERN_TEMPLATE_RAISED == static_cast<int>(ErrorCode::kTemplateRaised));
  CHECK(QUERN_INTERNAL == static_cast<int>(ErrorCode::kInternal));
  for (int code = 1; code <= QUERN_INTERNAL; ++code)
    CHECK(std::string(quern_code_name(code)) ==
          quern::error_code_name(static_cast<ErrorCode>(code)));
  CHECK(std::string(quern_code_name(QUERN_OK)) == "ok");
  CHECK(std::string(quern_version()).find('.') != std::string::npos);
}

TEST_CASE("a failure says code, file and sentence to its own thread") {
  quern_model* model = nullptr;
  const std::string_view path = "/no/such/model.quern";
  CHECK(quern_model_open(path.data(), path.size(), nullptr, &model) == QUERN_IO);
  CHECK(model == nullptr);
  const quern_error error = last();
  CHECK(error.code == QUERN_IO);
  CHECK(text_of(error.file) == path);
  CHECK(text_of(error.sentence).find(path) == 0);
  CHECK_FALSE(text_of(error.message).empty());
  // A program that was built when the struct was smaller gets what it knows.
  struct {
    std::size_t size;
    quern_code code;
    std::int32_t guard;
  } old{sizeof(std::size_t) + sizeof(quern_code), 0, 77};
  quern_last_error(reinterpret_cast<quern_error*>(&old));
  CHECK(old.code == QUERN_IO);
  CHECK(old.guard == 77);
  quern_last_error(nullptr);
}

TEST_CASE("null pointers and structs without a size are refused, never followed") {
  quern_model* model = nullptr;
  CHECK(quern_model_open(nullptr, 4, nullptr, &model) == QUERN_INVALID_ARGUMENT);
  CHECK(text_of(last().field) == "path");
  CHECK(quern_model_open("x", 1, nullptr, nullptr) == QUERN_INVALID_ARGUMENT);
  quern_model_options unset{};
  CHECK(quern_model_open("x", 1, &unset, &model) == QUERN_INVALID_ARGUMENT);
  CHECK(text_of(last().field) == "options");
  quern_tokens tokens{};
  quern_string text{};
  const float* logits = nullptr;
  CHECK(quern_encode(nullptr, "x", 1, 1, 1, &tokens) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_decode(nullptr, nullptr, 0, 1, &text) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_render(nullptr, "{}", 2, &text) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_encode_chat(nullptr, "{}", 2, &tokens) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_model_get_info(nullptr, nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_model_plan(nullptr, nullptr, 1, nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_model_verify(nullptr, &text) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_session_create(nullptr, nullptr, nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_session_step(nullptr, nullptr, 0, &logits, nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_session_rewind(nullptr, 0) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_generate(nullptr, nullptr, 0, nullptr, nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_conversation_create(nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_conversation_add(nullptr, "", 0, "", 0) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_conversation_json(nullptr, 1, &text) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_cancel_create(nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_session_position(nullptr) == 0);
  CHECK(quern_is_end_token(nullptr, 1) == 0);
  quern_model_free(nullptr);
  quern_session_free(nullptr);
  quern_conversation_free(nullptr);
  quern_cancel_free(nullptr);
  quern_cancel_set(nullptr);
  quern_string_free(nullptr);
  quern_tokens_free(nullptr);
  quern_generated_free(nullptr);
}

TEST_CASE("a whole chat through C streams what it returns") {
  Opened opened;
  if (opened.model == nullptr) return;
  quern_model_info info{};
  info.size = sizeof(info);
  REQUIRE(quern_model_get_info(opened.model, &info) == QUERN_OK);
  CHECK(info.vocab_size == 4096);
  CHECK(info.bos == 0);
  CHECK(info.can_run == 1);
  CHECK(text_of(info.path) == opened.path);

  quern_conversation* chat = nullptr;
  REQUIRE(quern_conversation_create(&chat) == QUERN_OK);
  REQUIRE(quern_conversation_add(chat, "user", 4, "What is \"apt\"?", 14) == QUERN_OK);
  quern_string json{}, prompt{};
  REQUIRE(quern_conversation_json(chat, 1, &json) == QUERN_OK);
  REQUIRE(quern_render(opened.model, json.data, json.length, &prompt) == QUERN_OK);
  CHECK(std::string(prompt.data, prompt.length).find("What is \"apt\"?") != std::string::npos);
  CHECK(prompt.data[prompt.length] == '\0');
  quern_tokens ids{};
  REQUIRE(quern_encode_chat(opened.model, json.data, json.length, &ids) == QUERN_OK);

  quern_session_options session_options;
  quern_session_options_init(&session_options);
  session_options.context = 100;
  quern_session* session = nullptr;
  REQUIRE(quern_session_create(opened.model, &session_options, &session) == QUERN_OK);
  CHECK(quern_session_context(session) == 100);
  quern_sampling_options sampling;
  quern_sampling_options_init(&sampling, opened.model);
  sampling.temperature = 0;
  quern_generate_options options;
  quern_generate_options_init(&options);
  options.sampling = &sampling;
  options.max_tokens = 12;
  options.ignore_end_tokens = 1;
  std::string streamed;
  options.user = &streamed;
  options.on_text = [](void* user, const char* text, std::size_t length) -> std::int32_t {
    static_cast<std::string*>(user)->append(text, length);
    return 1;
  };
  quern_generated reply{};
  reply.size = sizeof(reply);
  REQUIRE(quern_generate(session, ids.data, ids.length, &options, &reply) == QUERN_OK);
  CHECK(reply.reason == QUERN_FINISH_LENGTH);
  CHECK(reply.tokens.length == 12);
  CHECK(streamed == std::string(reply.text.data, reply.text.length));
  CHECK(reply.prompt_tokens == static_cast<std::int64_t>(ids.length));
  quern_string decoded{};
  REQUIRE(quern_decode(opened.model, reply.tokens.data, reply.tokens.length, 1, &decoded) ==
          QUERN_OK);
  CHECK(std::string(decoded.data, decoded.length) == streamed);

  // A struct that could not take the text is refused before there is one.
  quern_generated small{};
  small.size = sizeof(small.size);
  streamed.clear();
  CHECK(quern_generate(session, ids.data, ids.length, &options, &small) == QUERN_INVALID_ARGUMENT);
  CHECK(streamed.empty());

  quern_cancel* cancel = nullptr;
  REQUIRE(quern_cancel_create(&cancel) == QUERN_OK);
  quern_cancel_set(cancel);
  options.cancel = cancel;
  REQUIRE(quern_generate(session, ids.data, ids.length, &options, nullptr) == QUERN_OK);
  quern_cancel_free(cancel);
  quern_string_free(&json);
  quern_string_free(&prompt);
  quern_string_free(&decoded);
  quern_tokens_free(&ids);
  quern_generated_free(&reply);
  quern_conversation_free(chat);
  quern_session_free(session);
}

TEST_CASE("options that C asks of a model ban what its checkpoint bans") {
  Opened opened;
  if (opened.model == nullptr) return;
  quern_sampling_options plain;
  quern_sampling_options_init(&plain, opened.model);
  CHECK(plain.logit_bias_count == 0);
  quern::formats::QuernTail tail;
  tail.generation_json = R"({"suppress_tokens": [7, 9], "temperature": 0.25})";
  REQUIRE(quern::formats::rewrite_metadata_tail(opened.path, tail).ok());
  quern_model* model = nullptr;
  REQUIRE(quern_model_open(opened.path.data(), opened.path.size(), nullptr, &model) == QUERN_OK);
  quern_sampling_options options;
  quern_sampling_options_init(&options, model);
  CHECK(options.temperature == 0.25F);
  REQUIRE(options.logit_bias_count == 2);
  CHECK(options.logit_bias[0].token == 7);
  CHECK(options.logit_bias[1].token == 9);
  CHECK(std::isinf(options.logit_bias[1].bias));
  quern_sampling_options_init(&options, nullptr);
  CHECK(options.logit_bias_count == 0);
  quern_model_free(model);
}

TEST_CASE("steps, plans and verification through C agree with C++") {
  Opened opened;
  if (opened.model == nullptr) return;
  quern_memory_plan plan{};
  plan.size = sizeof(plan);
  REQUIRE(quern_model_plan(opened.model, nullptr, 2, &plan) == QUERN_OK);
  CHECK(plan.kv_bytes > 0);
  quern_string problems{};
  REQUIRE(quern_model_verify(opened.model, &problems) == QUERN_OK);
  CHECK(problems.length == 0);
  quern_string_free(&problems);

  quern_session_options options;
  quern_session_options_init(&options);
  options.kv = 99;
  quern_session* session = nullptr;
  CHECK(quern_session_create(opened.model, &options, &session) == QUERN_OUT_OF_RANGE);
  REQUIRE(quern_session_create(opened.model, nullptr, &session) == QUERN_OK);
  const quern_token tokens[] = {0, 17, 400};
  const float* logits = nullptr;
  std::size_t count = 0;
  REQUIRE(quern_session_step(session, tokens, 3, &logits, &count) == QUERN_OK);
  CHECK(count == 4096);
  auto model = quern::Model::open(opened.path);
  REQUIRE(model.ok());
  auto other = new_session(*model);
  const auto row = other.step(tokens);
  REQUIRE(row.ok());
  CHECK(same_bits(*row, std::span(logits, count)));
  CHECK(quern_session_position(session) == 3);
  CHECK(quern_session_rewind(session, 1) == QUERN_OK);
  CHECK(quern_session_rewind(session, 5) == QUERN_OUT_OF_RANGE);
  const quern_token foreign = 5000;
  CHECK(quern_session_step(session, &foreign, 1, &logits, &count) == QUERN_OUT_OF_RANGE);
  quern_session_free(session);
}
