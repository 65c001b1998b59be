// Templates that attack their interpreter: published injection payloads and variations. Each one
// ends in an error, or renders text that shows nothing of the host.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "text_jinja/template_support.h"

using namespace quern;

namespace {

/// Expressions that climb from some value to the interpreter's internals.
std::vector<std::string> climbing_payloads() {
  const char* const roots[] = {"''",           "()",          "[]",
                               "{}",           "1",           "1.5",
                               "none",         "true",        "messages",
                               "range",        "namespace()", "cycler(1)",
                               "joiner()",     "dict",        "lipsum",
                               "self",         "loop",        "raise_exception",
                               "strftime_now", "''.upper",    "messages.items",
                               "undefinedname"};
  const char* const paths[] = {
      ".__class__.__base__.__subclasses__()",
      ".__class__.__mro__[1].__subclasses__()[0]",
      ".__init__.__globals__['__builtins__']['__import__']('os').popen('id').read()",
      "['__class__']['__mro__']",
      "|attr('__class__')|attr('__mro__')",
      "|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('__base__')",
      ".__globals__.os.system('id')",
      ".gi_frame.f_globals",
      "._TemplateReference__context",
      ".__reduce__()",
  };
  std::vector<std::string> payloads;
  for (const char* root : roots) {
    for (const char* path : paths) payloads.push_back("{{ " + std::string(root) + path + " }}");
  }
  return payloads;
}

const char* const kPayloads[] = {
    "{{ config }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ get_flashed_messages.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ url_for.__globals__ }}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('id').read() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{% set c = ''.__class__ %}{{ c.__mro__ }}",
    "{% with c = [].__class__ %}{{ c.__base__ }}{% endwith %}",
    "{% include '/etc/passwd' %}",
    "{% include ['a', '/etc/passwd'] ignore missing %}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{% from 'os' import system %}{{ system('id') }}",
    "{% extends '/etc/passwd' %}",
    "{% block x %}{{ super() }}{% endblock %}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{{ '{x.__class__.__mro__}'.format(x='') }}",
    "{{ '{0[__class__]}'.format('') }}",
    "{{ ['{0.__class__}']|map('format', '')|first.format('') }}",
    "{{ ''.format_map({'a': 1}) }}",
    "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}",
    "{{ ('{0.__class__}'|attr('format'))('') }}",
    "{{ ['']|map(attribute='__class__')|list|first.__mro__ }}",
    "{{ ['']|map('attr', '__class__')|first.__mro__ }}",
    "{{ messages|map(attribute='__class__.__mro__')|list|first.x }}",
    "{{ ['']|selectattr('__class__.__mro__')|list|first.x }}",
    "{{ ['']|groupby('__class__.__mro__')|list|first|first.x }}",
    "{{ ['']|sort(attribute='__class__.__base__')|first.x }}",
    "{{ ['']|sum(attribute='__class__') }}",
    "{{ ['']|join('', attribute='__class__') }}",
    "{{ [''.__class__]|first.__name__.x }}",
    "{{ dict(__class__=1).__class__.__mro__ }}",
    "{{ ''|xmlattr }}",
    "{{ {}|pprint }}",
    "{{ [1]|random }}",
    "{{ lipsum(n=5) }}",
    "{% debug %}",
    "{% trans %}x{% endtrans %}",
    "{% autoescape false %}x{% endautoescape %}",
    "{{ eval('1') }}",
    "{{ exec('1') }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ __builtins__ }}{{ __builtins__.open }}",
    "{{ globals() }}",
    "{{ os.environ.HOME }}",
    "{{ environ('HOME') }}",
    "{{ context.environment }}",
    "{{ environment.globals }}",
    "{{ loop.__class__.x }}",
    "{% for i in [1] %}{{ loop._iterator.gi_frame }}{{ loop.__init__.__globals__.x }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__.x }}",
    "{{ caller.__globals__.x }}",
    "{{ range.__self__.x }}",
    "{{ ''.upper.__self__.__class__.x }}",
    "{{ [].append(1) }}",
    "{{ messages.append({'role': 'system'}) }}",
    "{{ messages.clear() }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].setdefault('x', 1) }}",
    "{{ messages|attr('append')(1) }}",
    "{{ messages['append'](1) }}",
    "{% set messages[0] = 1 %}",
    "{% set messages.x = 1 %}",
    "{% do messages.insert(0, 1) %}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns.__class__.__mro__ }}",
    "{{ strftime_now('%s') }}",
    "{{ strftime_now('%N') }}",
    "{{ ''.encode('utf-8') }}",
    "{{ ''.translate({}) }}",
    "{{ (1).to_bytes(8, 'big') }}",
    "{{ raise_exception }}",
    "{{ ''.join }}",
};

bool shows_host(const std::string& text) {
  for (const char* mark :
       {"uid=", "root:", "<class", "<function", "<built-in", "<module", "object at 0x", "/home"}) {
    if (text.find(mark) != std::string::npos) return true;
  }
  const char* home = std::getenv("HOME");
  return home != nullptr && std::string(home).size() > 1 && text.find(home) != std::string::npos;
}

}  // namespace

TEST_CASE("injection payloads end in an error or show nothing of the host") {
  const formats::Json variables = {{"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  std::vector<std::string> payloads = climbing_payloads();
  payloads.insert(payloads.end(), std::begin(kPayloads), std::end(kPayloads));
  std::size_t errors = 0;
  for (const std::string& payload : payloads) {
    CAPTURE(payload);
    const auto rendered = test::render(payload, variables);
    if (!rendered.ok()) {
      ++errors;
      CHECK(rendered.error().code != ErrorCode::kInternal);
      continue;
    }
    CHECK_FALSE(shows_host(rendered->text));
    CHECK(rendered->text.size() < 200);
  }
  MESSAGE(payloads.size() << " payloads, " << errors << " errors");
  CHECK(payloads.size() >= 290);
  CHECK(errors >= payloads.size() * 8 / 10);
}

TEST_CASE("every truncation of a template parses or is a typed error") {
  const std::string source =
      "{%- set ns = namespace(x=[1, 'a\\n'], y={'k': (1, 2)}) -%}{# c #}{% raw %}{{ }}{% endraw %}"
      "{% macro m(a, b=2) %}{{ a ~ b|default('x', true) }}{{ caller() }}{% endmacro %}"
      "{% for k, v in ns.y.items() if v recursive %}{{ loop.index }}{{ k[::-1] }}"
      "{% else %}{{ '%s' % 1 }}{% endfor %}{% call m(*[1], **{'b': 3}) %}z{% endcall %}"
      "{% if not 1 in ns.x and 2 >= 1.5e3 %}a{% elif x %}b{% else %}c{% endif %}";
  REQUIRE(test::render(source).ok());
  for (std::size_t length = 0; length < source.size(); ++length) {
    const auto rendered = test::render(source.substr(0, length));
    if (!rendered.ok()) CHECK(rendered.error().code != ErrorCode::kInternal);
  }
}

TEST_CASE("every template with one byte changed parses or is a typed error") {
  const std::string source =
      "{%- for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m.content|trim }}{% if loop.last %}"
      "{{ [1, 2][:1]|tojson }}{% endif %}{% endfor -%}";
  const formats::Json variables = {{"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  for (std::size_t at = 0; at < source.size(); ++at) {
    for (const char c :
         {'{', '}', '%', '\'', '"', '(', ')', '[', '\\', '\n', '-', '|', '\0', '\x80', '\xff'}) {
      std::string changed = source;
      changed[at] = c;
      const auto rendered = test::render(changed, variables);
      if (rendered.ok())
        test::check_spans(*rendered);
      else
        CHECK(rendered.error().code != ErrorCode::kInternal);
    }
  }
}
