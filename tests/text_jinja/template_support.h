/// \file
/// What the tests of chat templates share.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace quern::test {

std::string read_file(const std::filesystem::path& path);
formats::Json read_json(const std::filesystem::path& path);

/// \return whether the goldens are there; where CI is set their absence fails the test.
bool goldens_present(const std::filesystem::path& folder);

/// Checks that the spans cover the text without gap and alternate.
void check_spans(const text::Rendered& rendered);

/// \return whether a trusted span holds `needle`.
bool in_trusted_span(const text::Rendered& rendered, std::string_view needle);

/// Parses and renders; the clock stands at 2025-01-15T10:30:00.
Result<text::Rendered> render(std::string_view source,
                              const formats::Json& variables = formats::Json::object(),
                              const text::TemplateLimits& limits = {});

/// \return the rendered text, or "ERROR <code>: <message>".
std::string render_text(std::string_view source,
                        const formats::Json& variables = formats::Json::object());

}  // namespace quern::test
