// What follows an operand: subscripts, calls, filters, tests.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace quern::text::jinja {

Result<ExprPtr> Parser::parse_postfix(ExprPtr operand, bool subscripts, bool filters) {
  while (true) {
    const Token& token = current();
    Result<ExprPtr> longer = ExprPtr();
    if (token.is_operator("(")) {
      longer = parse_call(std::move(operand));
    } else if (subscripts && (token.is_operator(".") || token.is_operator("["))) {
      longer = parse_subscript(std::move(operand));
    } else if (filters && token.is_operator("|")) {
      next();
      longer = parse_filter(std::move(operand));
    } else if (filters && token.is_name("is")) {
      longer = parse_test(std::move(operand));
    } else {
      return operand;
    }
    if (!longer.ok()) return longer;
    operand = std::move(longer).value();
  }
}

Result<ExprPtr> Parser::parse_subscript(ExprPtr operand) {
  const Position at = current().at;
  ExprPtr item = make(ExprKind::kItem, at);
  if (skip_operator(".")) {
    const Token& token = current();
    if (token.kind == TokenKind::kName) {
      item->kind = ExprKind::kAttribute;
      item->name = token.text;
      item->children.push_back(std::move(operand));
      next();
      return finish(std::move(item));
    }
    if (token.kind != TokenKind::kInteger) return fail("expected a name or number after '.'");
    ExprPtr index = make(ExprKind::kConst, token.at);
    index->constant = Value(token.integer);
    item->children.push_back(std::move(operand));
    item->children.push_back(std::move(index));
    next();
    return finish(std::move(item));
  }
  next();
  ExprPtr tuple = make(ExprKind::kTuple, at);
  while (!current().is_operator("]")) {
    if (!tuple->children.empty()) QUERN_CHECK(expect_operator(","));
    QUERN_TRY(part, parse_subscripted());
    tuple->children.push_back(std::move(part));
  }
  next();
  const bool has_slice =
      tuple->children.size() > 1 &&
      std::any_of(tuple->children.begin(), tuple->children.end(),
                  [](const ExprPtr& part) { return part->kind == ExprKind::kSlice; });
  if (has_slice)
    return locate(Error(ErrorCode::kUnsupported, "a tuple of slices as subscript"), at);
  item->children.push_back(std::move(operand));
  if (tuple->children.size() == 1) {
    item->children.push_back(std::move(tuple->children.front()));
  } else {
    QUERN_TRY(done, finish(std::move(tuple)));
    item->children.push_back(std::move(done));
  }
  return finish(std::move(item));
}

Result<ExprPtr> Parser::parse_subscripted() {
  ExprPtr slice = make(ExprKind::kSlice, current().at);
  slice->children.resize(3);
  if (!current().is_operator(":")) {
    QUERN_TRY(first, parse_expression());
    if (!current().is_operator(":")) return first;
    slice->children[0] = std::move(first);
  }
  for (std::size_t part = 1; part < 3 && skip_operator(":"); ++part) {
    const Token& token = current();
    if (token.is_operator(":") || token.is_operator("]") || token.is_operator(",")) continue;
    QUERN_TRY(bound, parse_expression());
    slice->children[part] = std::move(bound);
  }
  return finish(std::move(slice));
}

Status Parser::parse_argument(CallSyntax& call) {
  const bool starred = call.star != nullptr || call.double_star != nullptr;
  const Error bad = fail("the arguments of a call are out of order");
  if (current().is_operator("*")) {
    if (starred) return bad;
    next();
    QUERN_TRY(value, parse_expression());
    call.star = std::move(value);
  } else if (current().is_operator("**")) {
    if (call.double_star != nullptr) return bad;
    next();
    QUERN_TRY(value, parse_expression());
    call.double_star = std::move(value);
  } else if (current().kind == TokenKind::kName && look().is_operator("=")) {
    if (call.double_star != nullptr) return bad;
    std::string name = current().text;
    for (const auto& other : call.named) {
      if (other.first == name) return fail("the keyword argument '" + name + "' is given twice");
    }
    next();
    next();
    QUERN_TRY(value, parse_expression());
    call.named.emplace_back(std::move(name), std::move(value));
  } else {
    if (starred || !call.named.empty()) return bad;
    QUERN_TRY(value, parse_expression());
    call.positional.push_back(std::move(value));
  }
  return {};
}

Status Parser::parse_arguments(CallSyntax& call) {
  QUERN_CHECK(expect_operator("("));
  bool first = true;
  while (!current().is_operator(")")) {
    if (!first) {
      QUERN_CHECK(expect_operator(","));
      if (current().is_operator(")")) break;
    }
    first = false;
    QUERN_CHECK(parse_argument(call));
  }
  next();
  return {};
}

Result<ExprPtr> Parser::parse_call(ExprPtr operand) {
  ExprPtr call = make(ExprKind::kCall, current().at);
  call->children.push_back(std::move(operand));
  QUERN_CHECK(parse_arguments(call->call));
  return finish(std::move(call));
}

Result<std::string> Parser::parse_dotted_name() {
  QUERN_TRY(name, expect_name());
  while (skip_operator(".")) {
    QUERN_TRY(part, expect_name());
    name += "." + part;
  }
  return name;
}

void Parser::resolve(Expr& expr, const Builtin* found, std::string_view what) {
  expr.builtin = found;
  if (found != nullptr || conditional_ > 0 || unknown_.has_value()) return;
  unknown_ = locate(unknown_builtin(what, expr.name), expr.at);
}

Result<ExprPtr> Parser::parse_filter(ExprPtr operand) {
  ExprPtr filter = make(ExprKind::kFilter, current().at);
  QUERN_TRY(name, parse_dotted_name());
  filter->name = std::move(name);
  filter->children.push_back(std::move(operand));
  if (current().is_operator("(")) QUERN_CHECK(parse_arguments(filter->call));
  resolve(*filter, find_filter(filter->name), "filter");
  return finish(std::move(filter));
}

Result<ExprPtr> Parser::parse_test(ExprPtr operand) {
  ExprPtr test = make(ExprKind::kTest, current().at);
  next();
  const bool negated = skip_name("not");
  QUERN_TRY(name, parse_dotted_name());
  test->name = std::move(name);
  test->children.push_back(std::move(operand));
  const Token& token = current();
  if (token.is_operator("(")) {
    QUERN_CHECK(parse_arguments(test->call));
  } else if (token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
             token.kind == TokenKind::kFloat || token.is_operator("[") || token.is_operator("{") ||
             (token.kind == TokenKind::kName && token.text != "else" && token.text != "or" &&
              token.text != "and")) {
    if (token.is_name("is")) return fail("tests cannot be chained with 'is'");
    QUERN_TRY(primary, parse_primary());
    QUERN_TRY(argument, parse_postfix(std::move(primary), /*subscripts=*/true, /*filters=*/false));
    test->call.positional.push_back(std::move(argument));
  }
  resolve(*test, find_test(test->name), "test");
  const Position at = test->at;
  QUERN_TRY(done, finish(std::move(test)));
  if (!negated) return done;
  return unary(ExprKind::kNot, at, std::move(done));
}

}  // namespace quern::text::jinja
