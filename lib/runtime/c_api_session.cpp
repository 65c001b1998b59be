#include <cstddef>
#include <new>

#include "runtime/c_api.h"
#include "runtime/model_state.h"

using quern::Status;
using quern::runtime::c_call;
using quern::runtime::null_argument;
using quern::runtime::read_struct;
using quern::runtime::view_argument;

namespace quern::runtime {

Result<SessionOptions> session_options(const quern_session_options* options) {
  quern_session_options given;
  quern_session_options_init(&given);
  QUERN_CHECK(read_struct(options, "options", given));
  if (given.kv < QUERN_KV_AUTO || given.kv > QUERN_KV_Q4)
    return Error(ErrorCode::kOutOfRange, "an unknown kind of KV cache")
        .of("kv")
        .got(std::to_string(given.kv));
  SessionOptions session;
  session.context = given.context;
  session.batch_rows = given.batch_rows;
  session.kv = static_cast<KvType>(given.kv);
  return session;
}

namespace {

Result<SamplingOptions> sampling_options(const quern_sampling_options* options,
                                         const Model& model) {
  if (options == nullptr) return model.default_sampling();
  quern_sampling_options given;
  quern_sampling_options_init(&given, nullptr);
  QUERN_CHECK(read_struct(options, "sampling", given));
  if (given.logit_bias == nullptr && given.logit_bias_count != 0)
    return null_argument("logit_bias");
  SamplingOptions sampling;
  sampling.temperature = given.temperature;
  sampling.top_k = given.top_k;
  sampling.top_p = given.top_p;
  sampling.min_p = given.min_p;
  sampling.repeat_penalty = given.repeat_penalty;
  sampling.repeat_window = given.repeat_window;
  sampling.presence_penalty = given.presence_penalty;
  sampling.frequency_penalty = given.frequency_penalty;
  sampling.seed = given.seed;
  for (std::size_t i = 0; i < given.logit_bias_count; ++i)
    sampling.logit_bias.emplace_back(given.logit_bias[i].token, given.logit_bias[i].bias);
  return sampling;
}

Result<GenerateOptions> generate_options(const quern_generate_options& given, const Model& model) {
  GenerateOptions options;
  QUERN_TRY(sampling, sampling_options(given.sampling, model));
  options.sampling = std::move(sampling);
  options.max_tokens = given.max_tokens;
  options.ignore_end_tokens = given.ignore_end_tokens != 0;
  if (given.cancel != nullptr) options.cancel = &given.cancel->set;
  if (given.stop == nullptr && given.stop_count != 0) return null_argument("stop");
  for (std::size_t i = 0; i < given.stop_count; ++i) {
    QUERN_TRY(stop, view_argument(given.stop[i].data, given.stop[i].length, "stop"));
    options.stop.emplace_back(stop);
  }
  if (given.on_text != nullptr)
    options.on_text = [call = given.on_text, user = given.user](std::string_view text) {
      return call(user, text.data(), text.size()) != 0;
    };
  return options;
}

/// Strings that are released where a later step fails.
struct OwnedGenerated {
  quern_generated values{};
  ~OwnedGenerated() {
    quern_string_free(&values.text);
    quern_tokens_free(&values.tokens);
  }
};

Status hand_over(const Generated& reply, quern_generated* out) {
  OwnedGenerated owned;
  quern_generated& values = owned.values;
  values.text = copy_string(reply.text);
  values.tokens = copy_tokens(reply.ids);
  values.reason = static_cast<int32_t>(reply.reason);
  values.prompt_tokens = reply.stats.prompt_tokens;
  values.cached_tokens = reply.stats.cached_tokens;
  values.generated_tokens = reply.stats.generated_tokens;
  values.prefill_ms = reply.stats.prefill_ms;
  values.decode_ms = reply.stats.decode_ms;
  QUERN_CHECK(write_struct(values, "generated", out));
  values.text = {nullptr, 0};
  values.tokens = {nullptr, 0};
  return {};
}

}  // namespace
}  // namespace quern::runtime

void quern_session_options_init(quern_session_options* options) {
  if (options == nullptr) return;
  const quern::SessionOptions defaults;
  *options = {sizeof(quern_session_options), defaults.context, defaults.batch_rows, QUERN_KV_AUTO};
}

void quern_sampling_options_init(quern_sampling_options* options, const quern_model* model) {
  if (options == nullptr) return;
  // No copy of the model's: nothing is allocated, and so nothing can fail.
  const quern::SamplingOptions library;
  const quern::SamplingOptions& from =
      model != nullptr ? model->model.state().generation.sampling : library;
  *options = {sizeof(quern_sampling_options),
              from.temperature,
              from.top_k,
              from.top_p,
              from.min_p,
              from.repeat_penalty,
              from.repeat_window,
              from.presence_penalty,
              from.frequency_penalty,
              from.seed,
              model != nullptr ? model->logit_bias.data() : nullptr,
              model != nullptr ? model->logit_bias.size() : 0};
}

void quern_generate_options_init(quern_generate_options* options) {
  if (options == nullptr) return;
  *options = {};
  options->size = sizeof(quern_generate_options);
  options->max_tokens = -1;
}

quern_code quern_session_create(const quern_model* model, const quern_session_options* options,
                                quern_session** session) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (session == nullptr) return null_argument("session");
    *session = nullptr;
    QUERN_TRY(given, quern::runtime::session_options(options));
    QUERN_TRY(created, quern::Session::create(model->model, given));
    *session = new quern_session{std::move(created)};
    return {};
  });
}

void quern_session_free(quern_session* session) { delete session; }

int64_t quern_session_position(const quern_session* session) {
  return session != nullptr ? session->session.position() : 0;
}

int64_t quern_session_context(const quern_session* session) {
  return session != nullptr ? session->session.context() : 0;
}

quern_code quern_session_rewind(quern_session* session, int64_t position) {
  return c_call([&]() -> Status {
    if (session == nullptr) return null_argument("session");
    return session->session.rewind(position);
  });
}

const quern_token* quern_model_decoder_start(const quern_model* model, size_t* count) {
  if (count != nullptr) *count = model != nullptr ? model->model.decoder_start().size() : 0;
  if (model == nullptr || model->model.decoder_start().empty()) return nullptr;
  return model->model.decoder_start().data();
}

quern_code quern_session_read_source(quern_session* session, const quern_token* tokens,
                                     size_t length, const float** states, size_t* count) {
  return c_call([&]() -> Status {
    if (session == nullptr) return null_argument("session");
    if (tokens == nullptr) return null_argument("tokens");
    QUERN_TRY(rows, session->session.read_source({tokens, length}));
    if (states != nullptr) *states = rows.data();
    if (count != nullptr) *count = rows.size();
    return {};
  });
}

quern_code quern_session_step(quern_session* session, const quern_token* tokens, size_t length,
                              const float** logits, size_t* count) {
  return c_call([&]() -> Status {
    if (session == nullptr) return null_argument("session");
    if (tokens == nullptr) return null_argument("tokens");
    if (logits == nullptr) return null_argument("logits");
    QUERN_TRY(row, session->session.step({tokens, length}));
    *logits = row.data();
    if (count != nullptr) *count = row.size();
    return {};
  });
}

quern_code quern_cancel_create(quern_cancel** cancel) {
  return c_call([&]() -> Status {
    if (cancel == nullptr) return null_argument("cancel");
    *cancel = new quern_cancel;
    return {};
  });
}

void quern_cancel_free(quern_cancel* cancel) { delete cancel; }

void quern_cancel_set(quern_cancel* cancel) {
  if (cancel != nullptr) cancel->set.store(true, std::memory_order_relaxed);
}

void quern_cancel_reset(quern_cancel* cancel) {
  if (cancel != nullptr) cancel->set.store(false, std::memory_order_relaxed);
}

void quern_generated_free(quern_generated* generated) {
  if (generated == nullptr) return;
  quern_string_free(&generated->text);
  quern_tokens_free(&generated->tokens);
}

quern_code quern_generate(quern_session* session, const quern_token* prompt, size_t length,
                          const quern_generate_options* options, quern_generated* generated) {
  return c_call([&]() -> Status {
    if (session == nullptr) return null_argument("session");
    if (prompt == nullptr) return null_argument("prompt");
    // Before the reply, which would be lost; and what is owned must fit, or it would leak.
    constexpr size_t kOwned = offsetof(quern_generated, reason);
    if (generated != nullptr)
      QUERN_CHECK(quern::runtime::check_struct("generated", generated, kOwned));
    quern_generate_options given;
    quern_generate_options_init(&given);
    QUERN_CHECK(read_struct(options, "options", given));
    QUERN_TRY(generate, quern::runtime::generate_options(given, session->session.model()));
    QUERN_TRY(reply, session->session.generate({prompt, length}, generate));
    return generated == nullptr ? Status() : quern::runtime::hand_over(reply, generated);
  });
}
