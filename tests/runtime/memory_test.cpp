#include <doctest/doctest.h>

#include <functional>
#include <new>
#include <optional>

#include "convert/convert.h"
#include "faults.h"
#include "formats/json.h"
#include "support.h"
#include "support/temp_dir.h"
#include "text/sampler.h"

using namespace quern;
using namespace quern::test;

namespace {

/// Runs `work` with its 1st, 2nd, … allocation failing, until it gets through. \return how many
/// points.
std::size_t fail_everywhere(const std::function<std::optional<ErrorCode>()>& work) {
  for (std::size_t point = 1;; ++point) {
    std::optional<ErrorCode> code;
    bool fired = false;
    {
      AllocationFault fault(point);
      code = work();
      fired = fault.fired();
    }
    if (!fired) {
      CHECK_FALSE(code.has_value());
      return point - 1;
    }
    CAPTURE(point);
    // A cache may be left unfilled instead; every other failure is an error of this one kind.
    if (code) CHECK(*code == ErrorCode::kOutOfMemory);
    if (point > 200000) return point;
  }
}

}  // namespace

TEST_CASE("a decode step and the sampler allocate nothing") {
  const auto path = golden_model("gemma3_text");
  if (!path) return;
  Session session = new_session(opened(*path));
  const auto ids = golden_ids(*path, "input_ids");
  SamplingOptions sampling;
  sampling.repeat_penalty = 1.2F;
  auto sampler = text::Sampler::create(sampling, opened(*path).vocab_size());
  REQUIRE(sampler.ok());
  REQUIRE(session.step(ids).ok());
  std::size_t count = 0;
  for (int i = 0; i < 20; ++i) {
    const AllocationFault probe;
    const auto row = session.step(std::span(ids).subspan(static_cast<std::size_t>(i), 1));
    const auto id = sampler->sample(*row, session.tokens());
    count += probe.count();
    REQUIRE(id.ok());
  }
  CHECK(count == 0);
}

TEST_CASE("reading and writing JSON survive every failing allocation") {
  if (!AllocationFault::works()) {
    MESSAGE("left out: operator new is the sanitizer's");
    return;
  }
  const std::string text =
      R"({"list of lists":[[1,-2,[3.5,{"deep and long enough to be allocated":[true,null]}]],[]],)"
      R"("a key that is not short":"a string that is allocated, too","x":NaN})";
  CHECK(fail_everywhere([&]() -> std::optional<ErrorCode> {
          try {
            const auto json = formats::parse_json(text, "a document", {}, true);
            if (!json.ok()) return json.error().code;
            const formats::Json copy = *json;
            return formats::dump_json(copy, 2).empty() ? std::optional(ErrorCode::kInternal)
                                                       : std::nullopt;
          } catch (const std::bad_alloc&) {
            return ErrorCode::kOutOfMemory;
          }
        }) > 20);
}

TEST_CASE("opening and rendering survive every failing allocation") {
  if (!AllocationFault::works()) {
    MESSAGE("left out: operator new is the sanitizer's");
    return;
  }
  const auto path = handbook_model();
  if (!path) return;
  const testing::TempDir folder;
  const std::string file = folder.file("m.quern");
  REQUIRE(convert::convert(*path, file).ok());
  ModelOptions options;
  options.threads = 1;
  CHECK(fail_everywhere([&] { return code_of(Model::open(file, options)); }) > 100);
  const char* conversation = R"({"messages":[{"role":"user","content":"How tall is a mill?"}]})";
  CHECK(fail_everywhere([&] {
          const auto model = Model::open(file, options);
          return model.ok() ? code_of(model->render(conversation)) : code_of(model);
        }) > 150);
}

TEST_CASE("encoding, sessions and replies survive every failing allocation") {
  if (!AllocationFault::works()) {
    MESSAGE("left out: operator new is the sanitizer's");
    return;
  }
  const auto path = handbook_model();
  if (!path) return;
  const Model& model = opened(*path);
  CHECK(fail_everywhere([&] { return code_of(model.encode("Hello, wörld! <|bos|> 123")); }) > 0);
  SessionOptions options;
  options.context = 64;
  CHECK(fail_everywhere([&] { return code_of(Session::create(model, options)); }) > 5);
  Session session = new_session(model, options);
  GenerateOptions generate;
  generate.max_tokens = 4;
  generate.stop = {"zzz"};
  const std::vector<TokenId> prompt{0, 500, 600, 700};
  CHECK(fail_everywhere([&] { return code_of(session.generate(prompt, generate)); }) > 3);
  CHECK(session.generate(prompt, generate).ok());
}
