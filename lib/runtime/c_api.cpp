#include "runtime/c_api.h"

#include <cstdlib>
#include <memory>
#include <new>

#include "quern/version.h"

namespace quern::runtime {
namespace {

/// Thread rule: one per thread.
struct LastError {
  quern_code code = QUERN_OK;
  Error error;
  std::string sentence;
};
thread_local LastError last_error;

}  // namespace

quern_model* new_model(Model model) {
  std::vector<quern_logit_bias> biases;
  for (const auto& [token, bias] : model.default_sampling().logit_bias)
    biases.push_back({token, bias});
  return new quern_model{std::move(model), std::move(biases)};
}

quern_code remember(Error error) noexcept {
  const auto code = static_cast<quern_code>(error.code);
  last_error.code = code;
  try {
    last_error.sentence = error.describe();
  } catch (...) {
    last_error.sentence.clear();
  }
  last_error.error = std::move(error);
  return code;
}

quern_string copy_string(std::string_view text) {
  char* data = static_cast<char*>(std::malloc(text.size() + 1));
  if (data == nullptr) throw std::bad_alloc();
  std::copy(text.begin(), text.end(), data);
  data[text.size()] = '\0';
  return {data, text.size()};
}

quern_tokens copy_tokens(std::span<const TokenId> ids) {
  // One byte more, so that an empty list is not a null pointer.
  auto* data = static_cast<quern_token*>(std::malloc(ids.size_bytes() + 1));
  if (data == nullptr) throw std::bad_alloc();
  std::copy(ids.begin(), ids.end(), data);
  return {data, ids.size()};
}

}  // namespace quern::runtime

using quern::Error;
using quern::ErrorCode;
using quern::Status;
using quern::runtime::c_call;
using quern::runtime::null_argument;
using quern::runtime::view_of;

void quern_last_error(quern_error* error) {
  const auto& last = quern::runtime::last_error;
  quern_error values{};
  values.code = last.code;
  if (last.code != QUERN_OK) {
    values.has_offset = last.error.offset.has_value() ? 1 : 0;
    values.offset = last.error.offset.value_or(0);
    values.message = view_of(last.error.message);
    values.file = view_of(last.error.file);
    values.field = view_of(last.error.field);
    values.expected = view_of(last.error.expected);
    values.found = view_of(last.error.found);
    values.sentence = view_of(last.sentence);
  }
  // Not through c_call: a failure here must not replace what was asked for.
  if (error != nullptr && error->size >= sizeof(error->size) && error->size <= 65536) {
    const size_t size = error->size;
    values.size = size;
    std::memcpy(error, &values, std::min(size, sizeof(values)));
  }
}

const char* quern_code_name(quern_code code) {
  return code == QUERN_OK ? "ok" : quern::error_code_name(static_cast<ErrorCode>(code));
}

const char* quern_version(void) { return quern::version(); }

void quern_string_free(quern_string* text) {
  if (text == nullptr) return;
  std::free(text->data);
  *text = {nullptr, 0};
}

void quern_tokens_free(quern_tokens* tokens) {
  if (tokens == nullptr) return;
  std::free(tokens->data);
  *tokens = {nullptr, 0};
}

void quern_model_options_init(quern_model_options* options) {
  if (options != nullptr) *options = {sizeof(quern_model_options), 0, 0, 0, 0, -1};
}

quern_code quern_model_open(const char* path, size_t path_length,
                            const quern_model_options* options, quern_model** model) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    *model = nullptr;
    QUERN_TRY(name, quern::runtime::view_argument(path, path_length, "path"));
    quern_model_options given;
    quern_model_options_init(&given);
    QUERN_CHECK(quern::runtime::read_struct(options, "options", given));
    quern::ModelOptions open_options;
    open_options.threads = given.threads;
    open_options.vocabulary_only = given.vocabulary_only != 0;
    open_options.fast = given.fast != 0;
    if (given.device < QUERN_DEVICE_CPU || given.device > QUERN_DEVICE_AUTO)
      return quern::Error(quern::ErrorCode::kOutOfRange, "no such device")
          .of("device")
          .want("0 … 2")
          .got(std::to_string(given.device));
    open_options.device = static_cast<quern::DeviceChoice>(given.device);
    open_options.gpu_layers = given.gpu_layers;
    QUERN_TRY(opened, quern::Model::open(std::string(name), open_options));
    *model = quern::runtime::new_model(std::move(opened));
    return {};
  });
}

void quern_model_free(quern_model* model) { delete model; }

quern_code quern_model_get_info(const quern_model* model, quern_model_info* info) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    const quern::Model& m = model->model;
    quern_model_info values{};
    values.vocab_size = m.vocab_size();
    values.max_seq_len = m.max_seq_len();
    values.file_bytes = m.file_bytes();
    values.weights_hash = m.weights_hash();
    values.bos = m.bos();
    values.eos = m.eos();
    values.threads = m.threads();
    values.has_tokenizer = m.has_tokenizer() ? 1 : 0;
    values.can_run = m.can_run() ? 1 : 0;
    values.isa = view_of(m.isa());
    values.path = view_of(m.path());
    values.config_json = view_of(m.config_json());
    values.chat_template = view_of(m.chat_template());
    return quern::runtime::write_struct(values, "info", info);
  });
}

quern_code quern_model_verify(const quern_model* model, quern_string* problems) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (problems == nullptr) return null_argument("problems");
    *problems = {nullptr, 0};
    QUERN_TRY(report, model->model.verify());
    std::string lines;
    for (const std::string& problem : report.problems) lines += problem + "\n";
    *problems = quern::runtime::copy_string(lines);
    return {};
  });
}

quern_code quern_model_plan(const quern_model* model, const quern_session_options* options,
                            int32_t sequences, quern_memory_plan* plan) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    QUERN_TRY(session, quern::runtime::session_options(options));
    QUERN_TRY(memory, model->model.plan(session, sequences));
    quern_memory_plan values{};
    values.weights_bytes = memory.weights_bytes;
    values.kv_bytes = memory.kv_bytes;
    values.scratch_bytes = memory.scratch_bytes;
    values.device_bytes = memory.device_bytes;
    return quern::runtime::write_struct(values, "plan", plan);
  });
}
