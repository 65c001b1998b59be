#include "text/chat_template.h"

#include "text/jinja/from_json.h"
#include "text/jinja/interp.h"
#include "text/jinja/parser.h"

namespace quern::text {

struct ChatTemplate::Program {
  std::string name;
  jinja::Body body;
};

namespace {

Error in_template(Error error, std::string_view name) {
  error.file = name;
  return error;
}

/// The variables of a render: special tokens, then the caller's, which override them.
Result<jinja::Value> collect_variables(jinja::Heap& heap, const formats::Json& variables,
                                       const RenderOptions& options) {
  jinja::Map map;
  const auto set = [&](std::string_view name, Result<jinja::Value> value) -> Status {
    if (!value.ok()) return std::move(value).error();
    QUERN_TRY(key, jinja::make_string(heap, name, /*trusted=*/true));
    return map.set(std::move(key), std::move(value).value());
  };
  for (const auto& [name, text] : options.special_tokens) {
    QUERN_CHECK(set(name, jinja::make_string(heap, text, /*trusted=*/true)));
  }
  QUERN_CHECK(set("bos_token", jinja::make_string(heap, options.bos_token, /*trusted=*/true)));
  QUERN_CHECK(set("eos_token", jinja::make_string(heap, options.eos_token, /*trusted=*/true)));
  QUERN_CHECK(set("tools", jinja::Value::none()));
  QUERN_CHECK(set("documents", jinja::Value::none()));
  for (const auto& [name, value] : variables.items()) {
    QUERN_CHECK(set(name, jinja::from_json(heap, value)));
  }
  return jinja::make_map(heap, std::move(map));
}

Result<jinja::TextRef> run(const jinja::Body& body, jinja::Interp& interp,
                           const formats::Json& variables, const RenderOptions& options) {
  QUERN_TRY(values, collect_variables(interp.heap(), variables, options));
  return interp.render(body, values);
}

}  // namespace

ChatTemplate::ChatTemplate(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string_view name,
                                         const TemplateLimits& limits) {
  if (source.size() > limits.source_bytes) {
    return Error(ErrorCode::kLimit, "the chat template is too long")
        .in_file(std::string(name))
        .want("at most " + std::to_string(limits.source_bytes) + " bytes")
        .got(std::to_string(source.size()));
  }
  auto body = jinja::parse_template(source, limits.parse_depth);
  if (!body.ok()) return in_template(std::move(body).error(), name);
  auto program = std::make_shared<Program>();
  program->name = name;
  program->body = std::move(body).value();
  return ChatTemplate(std::move(program));
}

Result<Rendered> ChatTemplate::render(const formats::Json& variables,
                                      const RenderOptions& options) const {
  if (!variables.is_object()) {
    return Error(ErrorCode::kInvalidArgument, "the variables of a chat template must be an object");
  }
  jinja::Interp interp(options);
  auto text = run(program_->body, interp, variables, options);
  if (!text.ok()) {
    return in_template(std::move(text).error(), program_->name);
  }
  Rendered rendered;
  rendered.text = (*text)->bytes();
  std::size_t begin = 0;
  for (const auto& each : (*text)->runs()) {
    rendered.spans.push_back({begin, each.end, each.trusted});
    begin = each.end;
  }
  return rendered;
}

}  // namespace quern::text
