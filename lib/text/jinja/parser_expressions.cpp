#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace quern::text::jinja {
namespace {

Value literal(std::string text) {
  return Value(std::make_shared<const Text>(std::move(text), /*trusted=*/true));
}

/// \return the operator of a token, or nullptr for another token.
const Operator* operator_of(const Token& token) {
  static constexpr std::pair<std::string_view, Operator> kTable[] = {
      {"+", Operator::kAdd},          {"-", Operator::kSubtract},     {"*", Operator::kMultiply},
      {"/", Operator::kDivide},       {"//", Operator::kFloorDivide}, {"%", Operator::kModulo},
      {"**", Operator::kPower},       {"==", Operator::kEqual},       {"!=", Operator::kNotEqual},
      {"<", Operator::kLess},         {"<=", Operator::kLessEqual},   {">", Operator::kGreater},
      {">=", Operator::kGreaterEqual}};
  static constexpr Operator kIn = Operator::kIn;
  if (token.is_name("in")) return &kIn;
  if (token.kind != TokenKind::kOperator) return nullptr;
  for (const auto& row : kTable) {
    if (row.first == token.text) return &row.second;
  }
  return nullptr;
}

}  // namespace

Result<ExprPtr> Parser::finish(ExprPtr expr) const {
  int height = 0;
  const auto add = [&height](const ExprPtr& child) {
    if (child != nullptr) height = std::max(height, child->height);
  };
  std::for_each(expr->children.begin(), expr->children.end(), add);
  std::for_each(expr->call.positional.begin(), expr->call.positional.end(), add);
  for (const auto& named : expr->call.named) add(named.second);
  add(expr->call.star);
  add(expr->call.double_star);
  expr->height = height + 1;
  if (expr->height > max_depth_) {
    return locate(Error(ErrorCode::kLimit, "an expression is nested too deeply")
                      .want("at most " + std::to_string(max_depth_) + " levels"),
                  expr->at);
  }
  return expr;
}

ExprPtr Parser::make(ExprKind kind, Position at) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->at = at;
  return expr;
}

Result<ExprPtr> Parser::unary(ExprKind kind, Position at, ExprPtr operand) const {
  ExprPtr expr = make(kind, at);
  expr->children.push_back(std::move(operand));
  return finish(std::move(expr));
}

Result<ExprPtr> Parser::parse_expression(bool with_condition) {
  return with_condition ? parse_condition() : parse_or();
}

Result<ExprPtr> Parser::parse_tuple(bool with_condition, bool in_parentheses) {
  const Position at = current().at;
  ExprPtr tuple = make(ExprKind::kTuple, at);
  bool is_tuple = false;
  while (true) {
    const Token& token = current();
    if (token.kind == TokenKind::kPrintEnd || token.kind == TokenKind::kBlockEnd ||
        token.is_operator(")") || (is_tuple && !with_condition && token.is_name("recursive"))) {
      break;
    }
    QUERN_TRY(item, parse_expression(with_condition));
    tuple->children.push_back(std::move(item));
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !tuple->children.empty()) return std::move(tuple->children.front());
  if (!is_tuple && !in_parentheses) return unexpected();
  return finish(std::move(tuple));
}

Result<ExprPtr> Parser::parse_condition() {
  const Nesting nesting(*this);
  QUERN_CHECK(enter());
  const bool had_unknown = unknown_.has_value();
  QUERN_TRY(value, parse_or());
  while (current().is_name("if")) {
    if (!had_unknown) unknown_.reset();
    ExprPtr expr = make(ExprKind::kCondition, current().at);
    next();
    ++conditional_;
    QUERN_TRY(test, parse_or());
    ExprPtr other;
    if (skip_name("else")) {
      QUERN_TRY(parsed, parse_condition());
      other = std::move(parsed);
    }
    --conditional_;
    expr->children.push_back(std::move(value));
    expr->children.push_back(std::move(test));
    expr->children.push_back(std::move(other));
    QUERN_TRY(done, finish(std::move(expr)));
    value = std::move(done);
  }
  return value;
}

Result<ExprPtr> Parser::parse_logic(ExprKind kind, std::string_view word, Rule operand) {
  QUERN_TRY(first, (this->*operand)());
  if (!current().is_name(word)) return first;
  ExprPtr expr = make(kind, current().at);
  expr->children.push_back(std::move(first));
  while (skip_name(word)) {
    QUERN_TRY(item, (this->*operand)());
    expr->children.push_back(std::move(item));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> Parser::parse_or() { return parse_logic(ExprKind::kOr, "or", &Parser::parse_and); }
Result<ExprPtr> Parser::parse_and() {
  return parse_logic(ExprKind::kAnd, "and", &Parser::parse_not);
}

Result<ExprPtr> Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Nesting nesting(*this);
  QUERN_CHECK(enter());
  const Position at = current().at;
  next();
  QUERN_TRY(operand, parse_not());
  return unary(ExprKind::kNot, at, std::move(operand));
}

Result<ExprPtr> Parser::parse_compare() {
  QUERN_TRY(first, parse_sum());
  ExprPtr expr = make(ExprKind::kCompare, current().at);
  while (true) {
    Operator op = Operator::kNotIn;
    if (current().is_name("not") && look().is_name("in")) {
      next();
    } else {
      const Operator* found = operator_of(current());
      if (found == nullptr || *found < Operator::kEqual) break;
      op = *found;
    }
    next();
    QUERN_TRY(operand, parse_sum());
    if (expr->children.empty()) expr->children.push_back(std::move(first));
    expr->children.push_back(std::move(operand));
    expr->operators.push_back(op);
  }
  if (expr->children.empty()) return first;
  return finish(std::move(expr));
}

/// Operands joined by any of `operators` (each between spaces), grouped from the left.
Result<ExprPtr> Parser::parse_chain(Rule operand, std::string_view operators) {
  QUERN_TRY(first, (this->*operand)());
  ExprPtr expr = make(ExprKind::kArithmetic, current().at);
  while (current().kind == TokenKind::kOperator &&
         operators.find(" " + current().text + " ") != std::string_view::npos) {
    const Operator* op = operator_of(current());
    expr->operators.push_back(*op);
    next();
    if (expr->children.empty()) expr->children.push_back(std::move(first));
    QUERN_TRY(item, (this->*operand)());
    expr->children.push_back(std::move(item));
  }
  if (expr->children.empty()) return first;
  return finish(std::move(expr));
}

Result<ExprPtr> Parser::parse_sum() { return parse_chain(&Parser::parse_concat, " + - "); }
Result<ExprPtr> Parser::parse_product() { return parse_chain(&Parser::parse_power, " * / // % "); }
Result<ExprPtr> Parser::parse_power() {
  return parse_chain(&Parser::parse_unary_with_filters, " ** ");
}
Result<ExprPtr> Parser::parse_unary_with_filters() { return parse_unary(true); }

Result<ExprPtr> Parser::parse_concat() {
  QUERN_TRY(first, parse_product());
  if (!current().is_operator("~")) return first;
  ExprPtr expr = make(ExprKind::kConcat, current().at);
  expr->children.push_back(std::move(first));
  while (skip_operator("~")) {
    QUERN_TRY(item, parse_product());
    expr->children.push_back(std::move(item));
  }
  return finish(std::move(expr));
}

Result<ExprPtr> Parser::parse_unary(bool with_filters) {
  const Position at = current().at;
  ExprPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nesting nesting(*this);
    QUERN_CHECK(enter());
    const ExprKind kind = current().is_operator("-") ? ExprKind::kNegate : ExprKind::kPlus;
    next();
    QUERN_TRY(operand, parse_unary(false));
    QUERN_TRY(signed_operand, unary(kind, at, std::move(operand)));
    node = std::move(signed_operand);
  } else {
    QUERN_TRY(primary, parse_primary());
    node = std::move(primary);
  }
  QUERN_TRY(postfixed, parse_postfix(std::move(node), /*subscripts=*/true, /*filters=*/false));
  if (!with_filters) return postfixed;
  return parse_postfix(std::move(postfixed), /*subscripts=*/false, /*filters=*/true);
}

Result<ExprPtr> Parser::parse_name() {
  const Token token = current();
  next();
  ExprPtr expr = make(ExprKind::kConst, token.at);
  if (token.text == "true" || token.text == "True") {
    expr->constant = Value(true);
  } else if (token.text == "false" || token.text == "False") {
    expr->constant = Value(false);
  } else if (token.text == "none" || token.text == "None") {
    expr->constant = Value::none();
  } else {
    expr->kind = ExprKind::kName;
    expr->name = token.text;
    for (MacroSyntax* macro : macros_) {
      macro->uses_varargs |= token.text == "varargs";
      macro->uses_kwargs |= token.text == "kwargs";
      macro->uses_caller |= token.text == "caller";
    }
  }
  return expr;
}

Result<ExprPtr> Parser::parse_primary() {
  const Token& token = current();
  ExprPtr expr = make(ExprKind::kConst, token.at);
  switch (token.kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString: {
      std::string text;
      for (; current().kind == TokenKind::kString; next()) text += current().text;
      expr->constant = literal(std::move(text));
      return expr;
    }
    case TokenKind::kInteger:
      expr->constant = Value(token.integer);
      next();
      return expr;
    case TokenKind::kFloat:
      expr->constant = Value(token.number);
      next();
      return expr;
    default:
      break;
  }
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  if (!token.is_operator("(")) return unexpected();
  next();
  QUERN_TRY(inner, parse_tuple(/*with_condition=*/true, /*in_parentheses=*/true));
  QUERN_CHECK(expect_operator(")"));
  return inner;
}

Result<ExprPtr> Parser::parse_list() {
  ExprPtr expr = make(ExprKind::kList, current().at);
  next();
  while (!current().is_operator("]")) {
    if (!expr->children.empty()) {
      QUERN_CHECK(expect_operator(","));
      if (current().is_operator("]")) break;
    }
    QUERN_TRY(item, parse_expression());
    expr->children.push_back(std::move(item));
  }
  next();
  return finish(std::move(expr));
}

Result<ExprPtr> Parser::parse_dict() {
  ExprPtr expr = make(ExprKind::kDict, current().at);
  next();
  while (!current().is_operator("}")) {
    if (!expr->children.empty()) {
      QUERN_CHECK(expect_operator(","));
      if (current().is_operator("}")) break;
    }
    QUERN_TRY(key, parse_expression());
    QUERN_CHECK(expect_operator(":"));
    QUERN_TRY(value, parse_expression());
    expr->children.push_back(std::move(key));
    expr->children.push_back(std::move(value));
  }
  next();
  return finish(std::move(expr));
}

}  // namespace quern::text::jinja
