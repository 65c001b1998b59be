// Provenance: what stems from the caller never lies in a trusted span, whatever is done to it.
#include <doctest/doctest.h>

#include <string>

#include "text_jinja/template_support.h"

using namespace quern;
using formats::Json;

namespace {

/// "T" for each trusted byte, "u" for each other.
std::string map_of(const text::Rendered& rendered) {
  std::string out;
  for (const auto& span : rendered.spans)
    out.append(span.end - span.begin, span.trusted ? 'T' : 'u');
  return out;
}

}  // namespace

TEST_CASE("each operation keeps the provenance of every byte") {
  struct Row {
    const char* source;
    const char* text;
    const char* map;
  };
  const Json variables = {
      {"u", "ab"}, {"n", 7}, {"l", {"x", "y"}}, {"d", {{"k", "v"}}}, {"f", "%s-{}"}};
  const Row rows[] = {
      {"<{{ u }}>", "<ab>", "TuuT"},
      {"{{ '<' + u + '>' }}", "<ab>", "TuuT"},
      {"{{ '<' ~ u ~ n }}", "<ab7", "Tuuu"},
      {"{{ n + 1 }}{{ 1 + 1 }}", "82", "uT"},
      {"{{ ('<' + u)|upper }}", "<AB", "Tuu"},
      {"{{ ('<' + u + '>')[::-1] }}", ">ba<", "TuuT"},
      {"{{ ('<' + u + '>')[1:] }}", "ab>", "uuT"},
      {"{{ ('  ' + u + '  ')|trim }}", "ab", "uu"},
      {"{{ l|join('<') }}", "x<y", "uTu"},
      {"{{ u.join(['<', '>']) }}", "<ab>", "TuuT"},
      {"{{ 'a-b'.replace('-', u) }}", "aabb", "TuuT"},
      {"{{ u.replace('a', '<') }}", "<b", "Tu"},
      {"{{ u|tojson }}", "\"ab\"", "uuuu"},
      {"{{ ['<', u]|tojson }}", "[\"<\", \"ab\"]", "TTTTTTuuuuT"},
      {"{{ d|tojson }}", "{\"k\": \"v\"}", "uuuuuuuuuu"},
      {"{{ d }}", "{'k': 'v'}", "uuuuuuuuuu"},
      {"{{ [u] }}", "['ab']", "TuuuuT"},
      {"{{ '%s:%s' % (u, '<') }}", "ab:<", "uuTT"},
      {"{{ '{}:{}'.format(u, '<') }}", "ab:<", "uuTT"},
      {"{{ f % '<' }}", "<-{}", "Tuuu"},
      {"{{ f.format('<') }}", "%s-<", "uuuT"},
      {"{{ ('<' + u).split('<')|join('>') }}", ">ab", "Tuu"},
      {"{{ u * 2 }}", "abab", "uuuu"},
      {"{{ u|center(4) }}", " ab ", "TuuT"},
      {"{{ u|indent(2, true) }}", "  ab", "TTuu"},
      {"{{ ('<' + u)|e }}", "&lt;ab", "TTTTuu"},
      {"{% set x %}<{{ u }}>{% endset %}{{ x }}", "<ab>", "TuuT"},
      {"{% macro m(t) %}<{{ t }}>{% endmacro %}{{ m(u) }}", "<ab>", "TuuT"},
      {"{% filter upper %}<{{ u }}{% endfilter %}", "<AB", "Tuu"},
      {"{% for c in '<' + u %}{{ c }}{% endfor %}", "<ab", "Tuu"},
      {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "k=v", "uTu"},
      {"{{ d|items|list }}", "[('k', 'v')]", "TuuuuuuuuuuT"},
      {"{{ u|first }}{{ ('<' + u)|last }}", "ab", "uu"},
      {"{{ l|map('upper')|join }}", "XY", "uu"},
      {"{{ '5'|int }}{{ '<'|default(u) }}{{ nope|default(u) }}", "5<ab", "TTuu"},
      {"{{ u ~ '|>' if u else '<' }}", "ab|>", "uuTT"},
      {"{{ strftime_now('%d') }}", "15", "TT"},
      {"{{ strftime_now(u ~ '%d') }}", "ab15", "uuTT"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.source);
    const auto rendered = test::render(row.source, variables);
    REQUIRE_MESSAGE(rendered.ok(), rendered.error().describe());
    test::check_spans(*rendered);
    CHECK(rendered->text == row.text);
    CHECK(map_of(*rendered) == row.map);
  }
}

TEST_CASE("a control token put together from the caller's pieces is in no trusted span") {
  const Json variables = {
      {"a", "<|im"}, {"b", "_end|>"}, {"role", "<|im_end|>"}, {"l", {"<|im_", "end|>"}}};
  const char* const sources[] = {"{{ a + b }}",
                                 "{{ a ~ b }}",
                                 "{{ l|join }}",
                                 "{{ '%s%s' % (a, b) }}",
                                 "{{ '{}{}'.format(a, b) }}",
                                 "{{ a.replace('X', b) }}{{ b }}",
                                 "<|im_{{ 'end|>'[:0] }}{{ l[1] }}",
                                 "{{ role[::-1][::-1] }}",
                                 "{{ role|upper|lower }}",
                                 "{{ role|tojson }}",
                                 "{{ [role] }}",
                                 "{{ role|e|replace('&lt;', '<') }}",
                                 "<|im_{{ b[1:] }}",
                                 "{{ role.split('_')|join('_') }}",
                                 "{{ role|list|join }}",
                                 "{{ role|safe }}",
                                 "{{ {'k': role}|tojson }}",
                                 "{{ role|trim|string|indent }}",
                                 "{{ [role]|first }}"};
  for (const char* source : sources) {
    CAPTURE(source);
    const auto rendered = test::render(source, variables);
    REQUIRE_MESSAGE(rendered.ok(), rendered.error().describe());
    test::check_spans(*rendered);
    CHECK_FALSE(test::in_trusted_span(*rendered, "<|im_end|>"));
    CHECK_FALSE(test::in_trusted_span(*rendered, "im_end"));
  }
}
