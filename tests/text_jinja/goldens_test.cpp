// Every case of goldens/chat_templates: the text exactly, or the error that the template raises.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "text_jinja/template_support.h"

using namespace quern;
namespace fs = std::filesystem;

namespace {

formats::Json variables_of(const formats::Json& golden) {
  formats::Json variables = formats::Json::object();
  for (const auto& [key, value] : golden.items()) {
    const bool meta = key == "name" || key == "expected" || key == "expected_error" ||
                      key == "kwargs" || key == "bos_token" || key == "eos_token";
    if (!meta) variables[key] = value;
  }
  if (golden.contains("kwargs")) {
    for (const auto& [key, value] : golden["kwargs"].items()) variables[key] = value;
  }
  return variables;
}

text::RenderOptions options_of(const formats::Json& golden, const std::string& now) {
  text::RenderOptions options;
  options.bos_token = golden["bos_token"].string();
  options.eos_token = golden["eos_token"].string();
  options.now_iso8601 = now;
  return options;
}

void check_case(const text::ChatTemplate& chat, const formats::Json& golden,
                const std::string& now) {
  const auto rendered = chat.render(variables_of(golden), options_of(golden, now));
  if (golden.contains("expected_error")) {
    REQUIRE_FALSE(rendered.ok());
    CHECK(rendered.error().code == ErrorCode::kTemplateRaised);
    CHECK(rendered.error().message == golden["expected_error"].string());
    return;
  }
  REQUIRE_MESSAGE(rendered.ok(), rendered.error().describe());
  CHECK(rendered->text == golden["expected"].string());
  test::check_spans(*rendered);
}

/// Puts `token` around every string of the conversation.
void inject(formats::Json& value, const std::string& token) {
  if (value.is_string()) {
    value = token + value.string() + token;
    return;
  }
  for (auto& element : value.elements()) inject(element, token);
  for (auto& member : value.items()) inject(member.value, token);
}

void check_injection(const text::ChatTemplate& chat, const formats::Json& golden,
                     const std::string& now) {
  static const std::string kToken = "<|\x01injected|>";
  formats::Json variables = variables_of(golden);
  for (auto& message : variables["messages"].elements()) {
    for (auto& [key, value] : message.items()) {
      if (key != "role") inject(value, kToken);
    }
  }
  const auto rendered = chat.render(variables, options_of(golden, now));
  if (!rendered.ok()) return;  // Some templates insist on certain contents.
  test::check_spans(*rendered);
  CHECK_FALSE(test::in_trusted_span(*rendered, kToken));
  CHECK_FALSE(test::in_trusted_span(*rendered, "injected"));
}

}  // namespace

TEST_CASE("every published template renders every recorded conversation exactly") {
  const fs::path folder = fs::path(QUERN_GOLDENS_DIR) / "chat_templates";
  if (!test::goldens_present(folder)) return;
  std::size_t templates = 0;
  std::size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!fs::exists(entry.path() / "cases.json")) continue;
    const auto recorded = test::read_json(entry.path() / "cases.json");
    const auto chat = text::ChatTemplate::parse(test::read_file(entry.path() / "template.jinja"),
                                                entry.path().filename().string());
    REQUIRE_MESSAGE(chat.ok(), chat.error().describe());
    ++templates;
    for (const auto& golden : recorded["cases"]) {
      const std::string name = golden["name"].string();
      CAPTURE(entry.path().filename().string());
      CAPTURE(name);
      check_case(*chat, golden, recorded["now"].string());
      check_injection(*chat, golden, recorded["now"].string());
      ++cases;
    }
  }
  MESSAGE(templates << " templates, " << cases << " cases");
  CHECK(templates >= 52);
  CHECK(cases >= 663);
}
