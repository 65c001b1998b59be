/* A complete chat in C: history, streaming, errors. Usage: minimal-c MODEL.quern */
#include <quern/quern.h>
#include <stdio.h>
#include <string.h>

static int fail(void) {
  quern_error error = {.size = sizeof error};
  quern_last_error(&error);
  fprintf(stderr, "%.*s\n", (int)error.sentence.length, error.sentence.data);
  return 1;
}

static int32_t show(void* user, const char* text, size_t length) {
  return fwrite(text, 1, length, user) == length && fflush(user) == 0;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "model.quern";
  quern_model* model;
  quern_session* session;
  quern_conversation* chat;
  if (quern_model_open(path, strlen(path), NULL, &model)) return fail();
  if (quern_session_create(model, NULL, &session)) return fail();
  if (quern_conversation_create(&chat)) return fail();
  quern_generate_options options;
  quern_generate_options_init(&options);
  options.on_text = show, options.user = stdout, options.max_tokens = 200;
  for (char line[4096]; printf("> "), fflush(stdout), fgets(line, sizeof line, stdin);) {
    quern_string json;
    quern_tokens ids;
    quern_generated out = {.size = sizeof out};
    if (quern_conversation_add(chat, "user", 4, line, strcspn(line, "\n"))) return fail();
    if (quern_conversation_json(chat, 1, &json)) return fail();
    if (quern_encode_chat(model, json.data, json.length, &ids)) return fail();
    if (quern_generate(session, ids.data, ids.length, &options, &out)) return fail();
    if (quern_conversation_add(chat, "assistant", 9, out.text.data, out.text.length)) return fail();
    printf("\n"), quern_string_free(&json), quern_tokens_free(&ids), quern_generated_free(&out);
  }
  quern_conversation_free(chat), quern_session_free(session), quern_model_free(model);
}
