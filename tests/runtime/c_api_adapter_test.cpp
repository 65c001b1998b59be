// Adapters through C: the replies of C++, and what is refused.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "convert/convert.h"
#include "quern/quern.h"
#include "support.h"
#include "support/temp_dir.h"

namespace {

using namespace quern::test;

quern_error last() {
  quern_error error{};
  error.size = sizeof(error);
  quern_last_error(&error);
  return error;
}

/// A golden base and its adapter as `.quern` files, opened through C; null without the goldens.
struct Opened {
  quern::testing::TempDir folder;
  std::string base_path = folder.file("base.quern"), adapter_path = folder.file("adapter.quern");
  std::optional<std::string> source = golden_model("llama3");
  quern_model* base = nullptr;
  quern_adapter* adapter = nullptr;

  Opened() {
    if (!source) return;
    quern::convert::ConvertOptions options;
    options.self_test = false;
    REQUIRE(quern::convert::convert(*source, base_path, options).ok());
    const auto lora = std::filesystem::path(*source).parent_path() / "llama3_lora";
    const auto written =
        quern::convert::convert_adapter(lora.string(), opened(*source), adapter_path);
    REQUIRE(written.ok());
    REQUIRE(quern_model_open(base_path.data(), base_path.size(), nullptr, &base) == QUERN_OK);
    REQUIRE(quern_adapter_open(adapter_path.data(), adapter_path.size(), &adapter) == QUERN_OK);
  }
  ~Opened() {
    quern_adapter_free(adapter);
    quern_model_free(base);
  }
};

/// What a model says greedily after a few ids.
std::vector<quern_token> reply_of(const quern_model* model) {
  quern_session* session = nullptr;
  REQUIRE(quern_session_create(model, nullptr, &session) == QUERN_OK);
  quern_sampling_options sampling;
  quern_sampling_options_init(&sampling, model);
  sampling.temperature = 0;
  quern_generate_options options;
  quern_generate_options_init(&options);
  options.sampling = &sampling;
  options.max_tokens = 12;
  options.ignore_end_tokens = 1;
  const quern_token prompt[] = {1, 5, 9, 33, 7};
  quern_generated generated{};
  generated.size = sizeof(generated);
  REQUIRE(quern_generate(session, prompt, 5, &options, &generated) == QUERN_OK);
  const std::vector<quern_token> ids(generated.tokens.data,
                                     generated.tokens.data + generated.tokens.length);
  quern_generated_free(&generated);
  quern_session_free(session);
  return ids;
}

quern_model* adapted_by(const Opened& files, const float* weights, std::size_t count) {
  const quern_adapter* adapters[] = {files.adapter, files.adapter};
  quern_model* adapted = nullptr;
  REQUIRE(quern_model_with_adapters(files.base, adapters, weights, count, &adapted) == QUERN_OK);
  return adapted;
}

}  // namespace

TEST_CASE("a model with adapters through C says what it says in C++, and its base is as before") {
  const Opened files;
  if (!files.source) return;
  quern_adapter_info info{};
  info.size = sizeof(info);
  REQUIRE(quern_adapter_get_info(files.adapter, &info) == QUERN_OK);
  CHECK(info.pairs == 21);  // Seven matrices of three layers.
  CHECK(info.vectors == 0);
  CHECK(info.scales == 0);
  CHECK(std::string_view(info.path.data, info.path.length) == files.adapter_path);

  const auto plain = reply_of(files.base);
  const quern::Adapter adapter = quern::Adapter::open(files.adapter_path).value();
  const quern::Model in_cpp =
      quern::with_adapters(opened(*files.source), std::array{quern::AdapterUse{adapter}}).value();
  quern::Session session = new_session(in_cpp);
  quern::GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = 12;
  options.ignore_end_tokens = true;
  const auto expected = session.generate(std::vector<quern::TokenId>{1, 5, 9, 33, 7}, options);
  REQUIRE(expected.ok());
  CHECK(expected->ids != plain);

  quern_model* whole = adapted_by(files, nullptr, 1);
  CHECK(reply_of(whole) == expected->ids);
  const float halves[] = {0.5F, 0.5F}, nothing[] = {0.0F};
  quern_model* both = adapted_by(files, halves, 2);
  CHECK(reply_of(both) == expected->ids);
  quern_model* none = adapted_by(files, nothing, 1);
  CHECK(reply_of(none) == plain);
  CHECK(reply_of(files.base) == plain);
  for (quern_model* model : {whole, both, none}) quern_model_free(model);
}

TEST_CASE("a model with adapters outlives the handles that it was made from") {
  quern_model* adapted = nullptr;
  std::vector<quern_token> before;
  {
    const Opened files;
    if (!files.source) return;
    adapted = adapted_by(files, nullptr, 1);
    before = reply_of(adapted);
  }
  CHECK(reply_of(adapted) == before);
  quern_model_free(adapted);
}

TEST_CASE("what is no adapter, and a use that has no meaning, are codes and sentences") {
  const Opened files;
  if (!files.source) return;
  quern_adapter* adapter = nullptr;
  const std::string_view absent = "/no/such/adapter.quern";
  CHECK(quern_adapter_open(absent.data(), absent.size(), &adapter) == QUERN_IO);
  CHECK(quern_adapter_open(nullptr, 3, &adapter) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_adapter_open(absent.data(), absent.size(), nullptr) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_adapter_open(files.base_path.data(), files.base_path.size(), &adapter) ==
        QUERN_MISMATCH);
  CHECK(adapter == nullptr);

  quern_model* adapted = nullptr;
  const quern_adapter* uses[] = {files.adapter};
  const float nan[] = {NAN};
  CHECK(quern_model_with_adapters(files.base, uses, nan, 1, &adapted) == QUERN_OUT_OF_RANGE);
  CHECK(std::string_view(last().field.data, last().field.length) == "weight");
  CHECK(quern_model_with_adapters(files.base, nullptr, nullptr, 1, &adapted) ==
        QUERN_INVALID_ARGUMENT);
  CHECK(quern_model_with_adapters(nullptr, uses, nullptr, 1, &adapted) == QUERN_INVALID_ARGUMENT);
  CHECK(quern_model_with_adapters(files.base, uses, nullptr, 1, nullptr) == QUERN_INVALID_ARGUMENT);
  const quern_adapter* null[] = {nullptr};
  CHECK(quern_model_with_adapters(files.base, null, nullptr, 1, &adapted) ==
        QUERN_INVALID_ARGUMENT);
  CHECK(adapted == nullptr);
  quern_adapter_info info{};
  CHECK(quern_adapter_get_info(files.adapter, &info) == QUERN_INVALID_ARGUMENT);
  quern_adapter_free(nullptr);
}
