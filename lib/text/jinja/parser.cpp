#include "text/jinja/parser.h"

#include <array>

namespace quern::text::jinja {

bool Parser::skip_operator(std::string_view op) {
  if (!current().is_operator(op)) return false;
  next();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  next();
  return true;
}

Status Parser::expect_operator(std::string_view op) {
  if (skip_operator(op)) return {};
  return Error(unexpected()).want("'" + std::string(op) + "'");
}

Status Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) return Error(unexpected()).want(std::string(what));
  next();
  return {};
}

Result<std::string> Parser::expect_name() {
  if (current().kind != TokenKind::kName) return Error(unexpected()).want("a name");
  std::string name = current().text;
  next();
  return name;
}

Status Parser::enter() const {
  if (depth_ <= max_depth_) return {};
  return locate(Error(ErrorCode::kLimit, "the template is nested too deeply")
                    .want("at most " + std::to_string(max_depth_) + " levels"),
                current().at);
}

Error Parser::fail(std::string message) const {
  return locate(Error(ErrorCode::kMalformed, std::move(message)), current().at);
}

Error Parser::unexpected() const {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kEnd:
      return fail("the template ends early");
    case TokenKind::kName:
    case TokenKind::kOperator:
      return fail("unexpected '" + token.text + "'");
    case TokenKind::kString:
      return fail("unexpected string");
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return fail("unexpected number");
    default:
      return fail("unexpected end of a tag");
  }
}

Result<Body> Parser::parse() {
  QUERN_TRY(body, parse_body({}));
  if (current().kind != TokenKind::kEnd) return unexpected();
  if (unknown_.has_value()) return *unknown_;
  return body;
}

Result<Body> Parser::parse_body(const EndWords& end) {
  Body body;
  while (current().kind != TokenKind::kEnd) {
    const Token& token = current();
    auto stmt = std::make_unique<Stmt>();
    stmt->at = token.at;
    if (token.kind == TokenKind::kData) {
      stmt->kind = StmtKind::kData;
      stmt->text = std::make_shared<const Text>(token.text, /*trusted=*/true);
      body.push_back(std::move(stmt));
      next();
    } else if (token.kind == TokenKind::kPrintBegin) {
      next();
      stmt->kind = StmtKind::kPrint;
      QUERN_TRY(expr, parse_tuple(/*with_condition=*/true, /*in_parentheses=*/false));
      stmt->expr = std::move(expr);
      body.push_back(std::move(stmt));
      QUERN_CHECK(expect(TokenKind::kPrintEnd, "the end of the print tag"));
    } else {
      QUERN_CHECK(expect(TokenKind::kBlockBegin, "a tag"));
      for (const std::string_view word : end.words) {
        if (!word.empty() && current().is_name(word)) return body;
      }
      QUERN_CHECK(parse_statement(body));
      QUERN_CHECK(expect(TokenKind::kBlockEnd, "the end of the tag"));
    }
  }
  return body;
}

Result<Body> Parser::parse_block(const EndWords& end, bool drop_end) {
  const Nesting nesting(*this);
  QUERN_CHECK(enter());
  skip_operator(":");
  QUERN_CHECK(expect(TokenKind::kBlockEnd, "the end of the tag"));
  QUERN_TRY(body, parse_body(end));
  if (current().kind == TokenKind::kEnd) {
    return Error(fail("the template ends within a block"))
        .want("'" + std::string(end.words[0]) + "'");
  }
  if (drop_end) next();
  return body;
}

Result<Body> parse_template(std::string_view source, int max_depth) {
  QUERN_TRY(tokens, tokenize(source));
  return Parser(std::move(tokens), max_depth).parse();
}

}  // namespace quern::text::jinja
