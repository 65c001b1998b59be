#include <optional>

#include "text/jinja/access.h"
#include "text/jinja/interp.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"

namespace quern::text::jinja {
namespace {

/// A slice bound: an integer, or none for the default.
Result<std::optional<std::int64_t>> slice_bound(const Value& value) {
  if (value.is_none()) return std::optional<std::int64_t>();
  if (value.is_integral()) return std::optional<std::int64_t>(value.as_int());
  if (value.is_undefined()) return language_error(value.undefined_message());
  return language_error("slice indices must be integers or none");
}

}  // namespace

Result<Value> Interp::eval(const Expr& expr, const ScopeRef& scope) {
  if (expr.kind == ExprKind::kConst) return expr.constant;
  if (++depth_ > options_.limits.eval_depth) {
    return Error(ErrorCode::kLimit, "evaluation is nested too deeply")
        .want("at most " + std::to_string(options_.limits.eval_depth) + " levels");
  }
  QUERN_CHECK(spend(1));
  auto result = eval_kind(expr, scope);
  --depth_;
  if (!result.ok()) return locate(std::move(result).error(), expr.at);
  return result;
}

Result<Value> Interp::eval_kind(const Expr& expr, const ScopeRef& scope) {
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.constant;
    case ExprKind::kName:
      return eval_name(expr, scope);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return eval_items(expr, scope);
    case ExprKind::kDict:
      return eval_dict(expr, scope);
    case ExprKind::kArithmetic:
      return eval_arithmetic(expr, scope);
    case ExprKind::kCompare:
      return eval_compare(expr, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return eval_logic(expr, scope);
    case ExprKind::kNot:
    case ExprKind::kNegate:
    case ExprKind::kPlus:
      return eval_unary(expr, scope);
    case ExprKind::kConcat:
      return eval_concat(expr, scope);
    case ExprKind::kCondition:
      return eval_condition(expr, scope);
    case ExprKind::kAttribute:
      return eval_attribute(expr, scope);
    case ExprKind::kItem:
      return eval_item(expr, scope);
    case ExprKind::kSlice:
      break;  // Only within kItem.
    case ExprKind::kCall:
      return eval_call(expr, scope);
    case ExprKind::kFilter:
    case ExprKind::kTest:
      return eval_builtin(expr, scope);
  }
  return Error(ErrorCode::kInternal, "a slice outside a subscript");
}

Result<Value> Interp::eval_name(const Expr& expr, const ScopeRef& scope) {
  if (const Value* value = scope->find(expr.name); value != nullptr) return *value;
  if (expr.name == "self") return Error(ErrorCode::kUnsupported, "'self' is not supported");
  return Value::undefined("'" + expr.name + "' is undefined");
}

Result<Value> Interp::eval_items(const Expr& expr, const ScopeRef& scope) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const auto& child : expr.children) {
    QUERN_TRY(item, eval(*child, scope));
    items.push_back(std::move(item));
  }
  const Flavor flavor = expr.kind == ExprKind::kList ? Flavor::kList : Flavor::kTuple;
  return make_sequence(heap_, flavor, std::move(items));
}

Result<Value> Interp::eval_dict(const Expr& expr, const ScopeRef& scope) {
  Map map;
  for (std::size_t i = 0; i < expr.children.size(); i += 2) {
    QUERN_TRY(key, eval(*expr.children[i], scope));
    QUERN_TRY(value, eval(*expr.children[i + 1], scope));
    QUERN_CHECK(map.set(std::move(key), std::move(value)));
  }
  return make_map(heap_, std::move(map));
}

Result<Value> Interp::eval_arithmetic(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(left, eval(*expr.children[0], scope));
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    QUERN_TRY(right, eval(*expr.children[i + 1], scope));
    QUERN_TRY(result, arithmetic(*this, expr.operators[i], left, right));
    left = std::move(result);
  }
  return left;
}

Result<Value> Interp::eval_compare(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(left, eval(*expr.children[0], scope));
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    QUERN_TRY(right, eval(*expr.children[i + 1], scope));
    QUERN_TRY(holds, compare(*this, expr.operators[i], left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interp::eval_logic(const Expr& expr, const ScopeRef& scope) {
  const bool stop_at = expr.kind == ExprKind::kOr;
  for (std::size_t i = 0; i + 1 < expr.children.size(); ++i) {
    QUERN_TRY(value, eval(*expr.children[i], scope));
    if (truthy(value) == stop_at) return value;
  }
  return eval(*expr.children.back(), scope);
}

Result<Value> Interp::eval_unary(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(value, eval(*expr.children[0], scope));
  if (expr.kind == ExprKind::kNot) return Value(!truthy(value));
  if (expr.kind == ExprKind::kNegate) return negate(value);
  if (value.is(Kind::kBool)) return Value(value.as_int()).mark_user(value.from_user());
  if (value.is_number()) return value;
  return language_error(value.is_undefined()
                            ? value.undefined_message()
                            : "bad operand type for unary +: '" + value.type_name() + "'");
}

Result<Value> Interp::eval_concat(const Expr& expr, const ScopeRef& scope) {
  TextBuilder out(heap_);
  for (const auto& child : expr.children) {
    QUERN_TRY(value, eval(*child, scope));
    QUERN_CHECK(append_str(*this, out, value));
  }
  return make_string(out);
}

Result<Value> Interp::eval_condition(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(test, eval(*expr.children[1], scope));
  if (truthy(test)) return eval(*expr.children[0], scope);
  if (expr.children[2] != nullptr) return eval(*expr.children[2], scope);
  return Value::undefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

Result<Value> Interp::eval_attribute(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(object, eval(*expr.children[0], scope));
  return get_attribute(*this, object, expr.name);
}

Result<Value> Interp::eval_item(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(object, eval(*expr.children[0], scope));
  const Expr& subscript = *expr.children[1];
  if (subscript.kind != ExprKind::kSlice) {
    QUERN_TRY(key, eval(subscript, scope));
    return get_item(*this, object, key);
  }
  SliceBounds bounds;
  std::optional<std::int64_t>* const places[] = {&bounds.start, &bounds.stop, &bounds.step};
  for (std::size_t i = 0; i < 3; ++i) {
    if (subscript.children[i] == nullptr) continue;
    QUERN_TRY(value, eval(*subscript.children[i], scope));
    QUERN_TRY(bound, slice_bound(value));
    *places[i] = bound;
  }
  return get_slice(*this, object, bounds);
}

Status Interp::eval_starred(const CallSyntax& call, const ScopeRef& scope, Args& args) {
  if (call.star != nullptr) {
    QUERN_TRY(value, eval(*call.star, scope));
    QUERN_TRY(items, iterate(*this, value));
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  if (call.double_star == nullptr) return {};
  QUERN_TRY(value, eval(*call.double_star, scope));
  if (!value.is_map()) return language_error("the argument after ** must be a mapping");
  QUERN_CHECK(spend(value.map().size()));
  for (const auto& [key, item] : value.map().entries()) {
    if (!key.is_string()) return language_error("keywords must be strings");
    for (const auto& named : args.named) {
      if (named.first == key.str()) return language_error("got two values for a keyword argument");
    }
    QUERN_CHECK(spend(1 + args.named.size() / 16));
    args.named.emplace_back(key.str(), item);
  }
  return {};
}

Result<Args> Interp::eval_arguments(const CallSyntax& call, const ScopeRef& scope) {
  Args args;
  args.positional.reserve(call.positional.size());
  for (const auto& expr : call.positional) {
    QUERN_TRY(value, eval(*expr, scope));
    args.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : call.named) {
    QUERN_TRY(value, eval(*expr, scope));
    args.named.emplace_back(name, std::move(value));
  }
  QUERN_CHECK(eval_starred(call, scope, args));
  return args;
}

Result<Value> Interp::call(const Value& callee, const Args& args) {
  if (callee.is_undefined()) return language_error(callee.undefined_message());
  if (!callee.is_object())
    return language_error("'" + callee.type_name() + "' object is not callable");
  return callee.object().call(*this, args);
}

Result<Value> Interp::eval_call(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(callee, eval(*expr.children[0], scope));
  QUERN_TRY(args, eval_arguments(expr.call, scope));
  return call(callee, args);
}

Result<Value> Interp::eval_builtin(const Expr& expr, const ScopeRef& scope) {
  QUERN_TRY(operand, eval(*expr.children[0], scope));
  return apply_builtin(expr, operand, scope);
}

Result<Value> Interp::apply_builtin(const Expr& expr, const Value& operand, const ScopeRef& scope) {
  if (expr.builtin == nullptr) {
    return locate(unknown_builtin(expr.kind == ExprKind::kTest ? "test" : "filter", expr.name),
                  expr.at);
  }
  QUERN_TRY(args, eval_arguments(expr.call, scope));
  auto result = invoke(*this, *expr.builtin, operand, args);
  if (!result.ok()) return locate(std::move(result).error(), expr.at);
  return result;
}

Result<Value> Interp::eval_filters(const Expr& expr, const Value& input, const ScopeRef& scope) {
  QUERN_CHECK(spend(1));
  if (expr.children[0] == nullptr) return apply_builtin(expr, input, scope);
  QUERN_TRY(operand, eval_filters(*expr.children[0], input, scope));
  return apply_builtin(expr, operand, scope);
}

}  // namespace quern::text::jinja
