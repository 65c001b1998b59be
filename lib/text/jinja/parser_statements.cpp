#include <algorithm>

#include "text/jinja/parser.h"

namespace quern::text::jinja {
namespace {

/// Statements of Jinja that are outside the language of chat templates.
bool is_unsupported(std::string_view word) {
  static constexpr std::string_view kWords[] = {"extends", "block",      "include", "import",
                                                "from",    "autoescape", "trans",   "debug"};
  return std::find(std::begin(kWords), std::end(kWords), word) != std::end(kWords);
}

bool is_reserved(std::string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

}  // namespace

Status Parser::parse_statement(Body& body) {
  const Token token = current();
  if (token.kind != TokenKind::kName) return Error(unexpected()).want("the name of a tag");
  if (is_unsupported(token.text)) {
    return locate(
        Error(ErrorCode::kUnsupported, "the statement '" + token.text + "' is not supported"),
        token.at);
  }
  auto stmt = std::make_unique<Stmt>();
  stmt->at = token.at;
  next();
  Status status;
  const std::string& word = token.text;
  if (word == "print") return parse_print(*stmt, body);
  if (word == "for")
    status = parse_for(*stmt);
  else if (word == "if")
    status = parse_if(*stmt);
  else if (word == "set")
    status = parse_set(*stmt);
  else if (word == "with")
    status = parse_with(*stmt);
  else if (word == "macro")
    status = parse_macro(*stmt);
  else if (word == "call")
    status = parse_call_block(*stmt);
  else if (word == "filter")
    status = parse_filter_block(*stmt);
  else if (word == "generation")
    status = parse_scope(*stmt, "endgeneration");
  else if (word == "break" || word == "continue") {
    stmt->kind = word == "break" ? StmtKind::kBreak : StmtKind::kContinue;
    if (loops_ == 0)
      status = locate(Error(ErrorCode::kMalformed, "'" + word + "' outside a loop"), token.at);
  } else {
    status = locate(Error(ErrorCode::kMalformed, "unknown tag '" + word + "'"), token.at);
  }
  if (status.ok()) body.push_back(std::move(stmt));
  return status;
}

Status Parser::parse_print(const Stmt& stmt, Body& body) {
  for (bool first = true; current().kind != TokenKind::kBlockEnd; first = false) {
    if (!first) QUERN_CHECK(expect_operator(","));
    auto print = std::make_unique<Stmt>();
    print->kind = StmtKind::kPrint;
    print->at = stmt.at;
    QUERN_TRY(expr, parse_expression());
    print->expr = std::move(expr);
    body.push_back(std::move(print));
  }
  return {};
}

Result<Target> Parser::parse_target_part(bool with_namespace) {
  const Nesting nesting(*this);
  QUERN_CHECK(enter());
  Target target;
  target.at = current().at;
  if (skip_operator("(")) {
    QUERN_TRY(inner, parse_target(with_namespace));
    QUERN_CHECK(expect_operator(")"));
    return inner;
  }
  if (current().kind == TokenKind::kName && is_reserved(current().text)) {
    return fail("can't assign to '" + current().text + "'");
  }
  QUERN_TRY(name, expect_name());
  target.name = std::move(name);
  if (with_namespace && skip_operator(".")) {
    QUERN_TRY(attribute, expect_name());
    target.attribute = std::move(attribute);
  }
  return target;
}

Result<Target> Parser::parse_target(bool with_namespace) {
  Target tuple;
  tuple.at = current().at;
  while (true) {
    QUERN_TRY(part, parse_target_part(with_namespace));
    tuple.parts.push_back(std::move(part));
    if (!skip_operator(",")) break;
    tuple.is_tuple = true;
    const Token& token = current();
    if (token.is_name("in") || token.is_operator("=") || token.is_operator(")") ||
        token.kind == TokenKind::kBlockEnd) {
      break;
    }
  }
  if (!tuple.is_tuple) return std::move(tuple.parts.front());
  return tuple;
}

Status Parser::parse_for(Stmt& stmt) {
  stmt.kind = StmtKind::kFor;
  QUERN_TRY(target, parse_target(/*with_namespace=*/false));
  stmt.target = std::move(target);
  if (!skip_name("in")) return Error(unexpected()).want("'in'");
  QUERN_TRY(iterable, parse_tuple(/*with_condition=*/false, /*in_parentheses=*/false));
  stmt.expr = std::move(iterable);
  if (skip_name("if")) {
    QUERN_TRY(test, parse_expression());
    stmt.test = std::move(test);
  }
  stmt.recursive = skip_name("recursive");
  ++loops_;
  QUERN_TRY(body, parse_block({{"endfor", "else"}}, /*drop_end=*/false));
  --loops_;
  stmt.body = std::move(body);
  if (skip_name("endfor")) return {};
  next();
  QUERN_TRY(other, parse_block({{"endfor"}}, /*drop_end=*/true));
  stmt.else_body = std::move(other);
  return {};
}

Status Parser::parse_if(Stmt& stmt) {
  stmt.kind = StmtKind::kIf;
  ++conditional_;
  while (true) {
    QUERN_TRY(test, parse_tuple(/*with_condition=*/false, /*in_parentheses=*/false));
    QUERN_TRY(body, parse_block({{"elif", "else", "endif"}}, /*drop_end=*/false));
    stmt.branches.emplace_back(std::move(test), std::move(body));
    if (skip_name("elif")) continue;
    if (skip_name("else")) {
      QUERN_TRY(other, parse_block({{"endif"}}, /*drop_end=*/true));
      stmt.else_body = std::move(other);
    } else {
      next();
    }
    break;
  }
  --conditional_;
  return {};
}

Status Parser::parse_set(Stmt& stmt) {
  QUERN_TRY(target, parse_target(/*with_namespace=*/true));
  stmt.target = std::move(target);
  if (skip_operator("=")) {
    stmt.kind = StmtKind::kSet;
    QUERN_TRY(value, parse_tuple(/*with_condition=*/true, /*in_parentheses=*/false));
    stmt.expr = std::move(value);
    return {};
  }
  stmt.kind = StmtKind::kSetBlock;
  while (skip_operator("|")) {
    QUERN_TRY(filter, parse_filter(std::move(stmt.expr)));
    stmt.expr = std::move(filter);
  }
  QUERN_TRY(body, parse_block({{"endset"}}, /*drop_end=*/true));
  stmt.body = std::move(body);
  return {};
}

Status Parser::parse_with(Stmt& stmt) {
  stmt.kind = StmtKind::kWith;
  while (current().kind != TokenKind::kBlockEnd && current().kind != TokenKind::kEnd) {
    if (!stmt.bindings.empty()) QUERN_CHECK(expect_operator(","));
    QUERN_TRY(target, parse_target_part(/*with_namespace=*/false));
    QUERN_CHECK(expect_operator("="));
    QUERN_TRY(value, parse_expression());
    stmt.bindings.emplace_back(std::move(target), std::move(value));
  }
  QUERN_TRY(body, parse_block({{"endwith"}}, /*drop_end=*/true));
  stmt.body = std::move(body);
  return {};
}

Status Parser::parse_signature(MacroSyntax& macro) {
  QUERN_CHECK(expect_operator("("));
  while (!current().is_operator(")")) {
    if (!macro.parameters.empty()) QUERN_CHECK(expect_operator(","));
    QUERN_TRY(name, expect_name());
    ExprPtr value;
    if (skip_operator("=")) {
      QUERN_TRY(parsed, parse_expression());
      value = std::move(parsed);
    } else if (!macro.parameters.empty() && macro.parameters.back().second != nullptr) {
      return fail("a parameter without default follows one with a default");
    }
    macro.parameters.emplace_back(std::move(name), std::move(value));
  }
  next();
  return {};
}

Status Parser::parse_macro_body(MacroSyntax& macro, std::string_view end) {
  const int loops = loops_;
  loops_ = 0;
  macros_.push_back(&macro);
  QUERN_TRY(body, parse_block({{end}}, /*drop_end=*/true));
  macros_.pop_back();
  loops_ = loops;
  macro.body = std::move(body);
  for (const auto& parameter : macro.parameters) {
    if (parameter.first == "caller" && parameter.second == nullptr) {
      return locate(Error(ErrorCode::kMalformed, "the parameter 'caller' needs a default"),
                    macro.at);
    }
    if (parameter.first == "varargs") macro.uses_varargs = false;
    if (parameter.first == "kwargs") macro.uses_kwargs = false;
  }
  return {};
}

Status Parser::parse_macro(Stmt& stmt) {
  stmt.kind = StmtKind::kMacro;
  stmt.macro = std::make_unique<MacroSyntax>();
  stmt.macro->at = stmt.at;
  QUERN_TRY(name, expect_name());
  stmt.macro->name = std::move(name);
  QUERN_CHECK(parse_signature(*stmt.macro));
  return parse_macro_body(*stmt.macro, "endmacro");
}

Status Parser::parse_call_block(Stmt& stmt) {
  stmt.kind = StmtKind::kCallBlock;
  stmt.macro = std::make_unique<MacroSyntax>();
  stmt.macro->at = stmt.at;
  stmt.macro->name = "caller";
  if (current().is_operator("(")) QUERN_CHECK(parse_signature(*stmt.macro));
  QUERN_TRY(call, parse_expression());
  if (call->kind != ExprKind::kCall) return fail("a call block needs a call");
  stmt.expr = std::move(call);
  return parse_macro_body(*stmt.macro, "endcall");
}

Status Parser::parse_filter_block(Stmt& stmt) {
  stmt.kind = StmtKind::kFilterBlock;
  do {
    QUERN_TRY(filter, parse_filter(std::move(stmt.expr)));
    stmt.expr = std::move(filter);
  } while (skip_operator("|"));
  QUERN_TRY(body, parse_block({{"endfilter"}}, /*drop_end=*/true));
  stmt.body = std::move(body);
  return {};
}

Status Parser::parse_scope(Stmt& stmt, std::string_view end) {
  stmt.kind = StmtKind::kScope;
  const int loops = loops_;
  loops_ = 0;  // The body is a macro's: a jump cannot leave it.
  QUERN_TRY(body, parse_block({{end}}, /*drop_end=*/true));
  loops_ = loops;
  stmt.body = std::move(body);
  return {};
}

}  // namespace quern::text::jinja
