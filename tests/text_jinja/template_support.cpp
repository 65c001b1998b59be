#include "text_jinja/template_support.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace quern::test {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

formats::Json read_json(const std::filesystem::path& path) {
  auto json = formats::parse_json(read_file(path), path.string());
  REQUIRE_MESSAGE(json.ok(), json.error().describe());
  return std::move(json).value();
}

bool goldens_present(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder)) return true;
  if (std::getenv("CI") != nullptr) FAIL("the goldens are missing: " << folder.string());
  MESSAGE("the goldens are missing; skipped");
  return false;
}

void check_spans(const text::Rendered& rendered) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < rendered.spans.size(); ++i) {
    REQUIRE(rendered.spans[i].begin == at);
    REQUIRE(rendered.spans[i].end > at);
    if (i > 0) REQUIRE(rendered.spans[i].trusted != rendered.spans[i - 1].trusted);
    at = rendered.spans[i].end;
  }
  REQUIRE(at == rendered.text.size());
}

bool in_trusted_span(const text::Rendered& rendered, std::string_view needle) {
  for (const auto& span : rendered.spans) {
    const auto part = std::string_view(rendered.text).substr(span.begin, span.end - span.begin);
    if (span.trusted && part.find(needle) != std::string_view::npos) return true;
  }
  return false;
}

Result<text::Rendered> render(std::string_view source, const formats::Json& variables,
                              const text::TemplateLimits& limits) {
  QUERN_TRY(chat, text::ChatTemplate::parse(source, "test", limits));
  text::RenderOptions options;
  options.now_iso8601 = "2025-01-15T10:30:00";
  options.limits = limits;
  return chat.render(variables, options);
}

std::string render_text(std::string_view source, const formats::Json& variables) {
  const auto rendered = render(source, variables);
  if (rendered.ok()) return rendered->text;
  return std::string("ERROR ") + error_code_name(rendered.error().code) + ": " +
         rendered.error().message;
}

}  // namespace quern::test
