// What a hostile template costs: a typed error, never a crash, a hang or memory without bound.
#include <doctest/doctest.h>

#include <string>

#include "text_jinja/template_support.h"

using namespace quern;

namespace {

std::string repeat(const std::string& text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("the clock is a moment as ISO 8601 writes it") {
  const auto chat =
      text::ChatTemplate::parse("{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}", "clock");
  REQUIRE(chat.ok());
  const auto at = [&](const char* now) {
    text::RenderOptions options;
    options.now_iso8601 = now;
    const auto rendered = chat->render(formats::Json::object(), options);
    return rendered.ok() ? rendered->text : std::string(error_code_name(rendered.error().code));
  };
  CHECK(at("2025-01-15T10:30:07") == "2025-01-15 10:30:07.000000");
  CHECK(at("2025-01-15 10:30") == "2025-01-15 10:30:00.000000");
  CHECK(at("2025-01-15T10:30:07.25") == "2025-01-15 10:30:07.250000");
  CHECK(at("2025-01-15") == "2025-01-15 00:00:00.000000");
  for (const char* zone : {"Z", "+02:00", "-0530", "+14"})
    CHECK(at((std::string("2025-01-15T10:30:07") + zone).c_str()) == "2025-01-15 10:30:07.000000");
  for (const char* wrong : {"", "2025", "2025-13-01", "2025-02-30", "2025-01-15T",
                            "2025-01-15T24:00", "2025-01-15T10:30:07+", "2025-01-15T10:30:07+25:00",
                            "2025-01-15Z", "2025-01-15T10:30:07Zx"})
    CHECK_MESSAGE(at(wrong) == error_code_name(ErrorCode::kInvalidArgument), wrong);
}

TEST_CASE("templates beyond a limit end with kLimit") {
  const std::string deep = repeat("(", 5000);
  const std::string sources[] = {
      "{{ " + deep + "1" + repeat(")", 5000) + " }}",
      "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}",
      "{{ " + repeat("{1:", 5000) + "1" + repeat("}", 5000) + " }}",
      "{{ " + repeat("not ", 50000) + "1 }}",
      "{{ " + repeat("-", 50000) + "1 }}",
      "{{ x" + repeat(".y", 50000) + " }}",
      "{{ x" + repeat("|trim", 50000) + " }}",
      "{{ x" + repeat("()", 50000) + " }}",
      "{{ x" + repeat("[0]", 50000) + " }}",
      "{{ " + repeat("1 if 1 else ", 50000) + "1 }}",
      "{{ " + repeat("f(", 5000) + repeat(")", 5000) + " }}",
      repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000),
      repeat("{% for i in [1] %}", 5000) + repeat("{% endfor %}", 5000),
      repeat("{% macro m() %}", 5000) + repeat("{% endmacro %}", 5000),
      "{% set " + repeat("(", 5000) + "a" + repeat(")", 5000) + " = 1 %}",
      "{% for " + repeat("(", 5000) + "a" + repeat(")", 5000) + " in [] %}{% endfor %}",
      "{% macro x() %}{{ x() }}{% endmacro %}{{ x() }}",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
      "{% macro x() %}{% call x() %}{{ caller() }}{% endcall %}{% endmacro %}{{ x() }}",
      "{% for i in [[1]] recursive %}{{ loop([i]) }}{% endfor %}",
      "{% for i in range(1000000000) %}{% endfor %}",
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "{% for i in range(1000) %}{% for j in range(1000) %}x{% endfor %}{% endfor %}",
      "{{ 'a' * 1000000000 }}",
      "{{ 'a' * 9223372036854775807 }}",
      "{{ [1] * 9223372036854775807 }}",
      "{{ [0] * 10000000 }}",
      "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x "
      "%}{% endfor %}",
      "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x "
      "%}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% "
      "endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% "
      "endfor %}{{ ns.x == [ns.x] }}{{ ns.x|tojson }}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor "
      "%}",
      "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x} %}{% "
      "endfor %}",
      "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x|replace('a', "
      "'aaaa') %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x.copy] %}{% "
      "endfor %}",
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{% set ns = namespace(x='x' * 1000000) %}{% for i in range(100000) %}{{ ns.x }}{% endfor %}",
      "{{ ('x' * 1000000)|list|length }}",
      "{{ 'x'|center(10000000000) }}",
      "{{ 'x'.ljust(10000000000) }}",
      "{{ 'x'.zfill(10000000000) }}",
      "{{ 'a'|indent(10000000000) }}",
      "{{ '%9999999999s' % 1 }}",
      "{{ '{:9999999999}'.format(1) }}",
      "{{ '\t'.expandtabs(10000000000) }}",
      "{{ [1]|slice(100000000)|list }}",
      "{{ [1]|batch(100000000, 0)|list }}",
      "{{ [[1]]|tojson(indent=100000000) }}",
      "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{{ 'zz' in s }}{% endfor %}",
      "{% for a in range(100) %}{% for b in range(100) %}{% set x = range(10000) %}{% endfor %}{% "
      "endfor %}",
      std::string((1u << 20) + 1, 'x'),
  };
  for (const std::string& source : sources) {
    CAPTURE(source.substr(0, 120));
    const auto rendered = test::render(source);
    REQUIRE_FALSE(rendered.ok());
    CHECK_MESSAGE(rendered.error().code == ErrorCode::kLimit, rendered.error().describe());
  }
}

TEST_CASE("evaluation as deep as every limit allows does not exhaust the stack") {
  const std::string inner = repeat("[", 90) + "m(n - 1)" + repeat("]", 90);
  const std::string body = "{% if n %}{{ " + inner + " }}{% endif %}";
  const auto rendered = test::render("{% macro m(n) %}" + body + "{% endmacro %}{{ m(64) }}");
  REQUIRE_FALSE(rendered.ok());
  CHECK(rendered.error().code == ErrorCode::kLimit);
  const std::string nested =
      repeat("{% if n %}", 90) + "{{ m(n - 1) }}" + repeat("{% endif %}", 90);
  CHECK(test::render("{% macro m(n) %}" + nested + "{% endmacro %}{{ m(64) }}").error().code ==
        ErrorCode::kLimit);
  CHECK(test::render_text("{{ " + repeat("(", 90) + "1" + repeat(")", 90) + " }}") == "1");
  CHECK(test::render_text(
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{{ n }}{% endmacro %}{{ f(60) }}")
            .substr(0, 4) == "0123");
}

TEST_CASE("long chains that need no depth are no deeper than one operator") {
  CHECK(test::render_text("{{ 1" + repeat(" + 1", 9999) + " }}") == "10000");
  CHECK(test::render_text("{{ ''" + repeat(" ~ 'a'", 2000) + " }}") == repeat("a", 2000));
  CHECK(test::render_text("{{ 0" + repeat(" or 0", 9999) + " }}") == "0");
  CHECK(test::render_text("{% if 0 %}" + repeat("{% elif 0 %}", 5000) + "{% else %}x{% endif %}") ==
        "x");
}

TEST_CASE("values that have died give their bytes back") {
  CHECK(test::render_text("{% for i in range(2000) %}{% set x = 'a' * 1000000 %}{% endfor %}ok")
            .substr(0, 5) == "ERROR");  // 2 GB of text is too much work …
  CHECK(test::render_text("{% for i in range(200) %}{% set x = 'a' * 1000000 %}{% endfor %}ok") ==
        "ok");
}

TEST_CASE("smaller limits of the caller hold") {
  text::TemplateLimits limits;
  limits.steps = 50;
  CHECK(test::render("{% for i in range(40) %}{{ i }}{% endfor %}", formats::Json::object(), limits)
            .error()
            .code == ErrorCode::kLimit);
  limits = {};
  limits.output_bytes = 10;
  CHECK(test::render("{{ 'a' * 11 }}", formats::Json::object(), limits).error().code ==
        ErrorCode::kLimit);
  limits = {};
  limits.value_bytes = 1000;
  CHECK(test::render("x", {{"a", std::string(2000, 'x')}}, limits).error().code ==
        ErrorCode::kLimit);
}
