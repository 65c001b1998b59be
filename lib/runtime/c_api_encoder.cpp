#include <span>
#include <vector>

#include "runtime/c_api.h"

using quern::EncoderInput;
using quern::EncoderOutput;
using quern::Error;
using quern::ErrorCode;
using quern::Status;
using quern::runtime::c_call;
using quern::runtime::null_argument;
using quern::runtime::view_argument;

struct quern_encoder {
  quern::Encoder encoder;
  std::vector<float> result;  ///< Of the last call.
};

namespace {

Status give(quern_encoder& encoder, const float** values, std::size_t* count) {
  *values = encoder.result.data();
  *count = encoder.result.size();
  return {};
}

}  // namespace

quern_code quern_encoder_create(const quern_model* model, quern_encoder** encoder) {
  return c_call([&]() -> Status {
    if (model == nullptr) return null_argument("model");
    if (encoder == nullptr) return null_argument("encoder");
    *encoder = nullptr;
    QUERN_TRY(created,
              quern::Encoder::create(model->model, {.max_tokens = model->model.max_text_tokens()}));
    *encoder = new quern_encoder{std::move(created), {}};
    return {};
  });
}

void quern_encoder_free(quern_encoder* encoder) { delete encoder; }

quern_code quern_encoder_embed(quern_encoder* encoder, const char* text, size_t length,
                               const float** embedding, size_t* count) {
  return c_call([&]() -> Status {
    if (encoder == nullptr) return null_argument("encoder");
    if (embedding == nullptr || count == nullptr) return null_argument("embedding");
    QUERN_TRY(view, view_argument(text, length, "text"));
    const quern::Model& model = encoder->encoder.model();
    QUERN_TRY(input, model.encode_text(view, encoder->encoder.max_tokens()));
    QUERN_TRY(all, encoder->encoder.embed({&input, 1}, model.default_embedding()));
    encoder->result = std::move(all);
    return give(*encoder, embedding, count);
  });
}

quern_code quern_encoder_score(quern_encoder* encoder, const char* a, size_t a_length,
                               const char* b, size_t b_length, const float** logits,
                               size_t* count) {
  return c_call([&]() -> Status {
    if (encoder == nullptr) return null_argument("encoder");
    if (logits == nullptr || count == nullptr) return null_argument("logits");
    QUERN_TRY(first, view_argument(a, a_length, "a"));
    QUERN_TRY(second, view_argument(b, b_length, "b"));
    const quern::Model& model = encoder->encoder.model();
    QUERN_TRY(input, model.encode_pair(first, second, encoder->encoder.max_tokens()));
    QUERN_CHECK(
        encoder->encoder.run({&input, 1}, [&](std::size_t, const EncoderOutput& output) -> Status {
          if (output.logits.empty() || output.per_token)
            return Error(ErrorCode::kUnsupported, "the model has no head for pairs of texts")
                .in_file(model.path());
          encoder->result.assign(output.logits.begin(), output.logits.end());
          return {};
        }));
    return give(*encoder, logits, count);
  });
}
