/// \file
/// The syntax tree of a template. Immutable after parsing and shared between threads; the parser
/// bounds its height, so that recursion over it is bounded too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/position.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

struct Builtin;

enum class ExprKind : std::uint8_t {
  kConst,
  kName,
  kList,
  kTuple,
  kDict,
  kArithmetic,
  kCompare,
  kAnd,
  kOr,
  kNot,
  kNegate,
  kPlus,
  kConcat,
  kCondition,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
};

enum class Operator : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

/// Arguments as written.
struct CallSyntax {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star;         ///< *args, or null
  ExprPtr double_star;  ///< **kwargs, or null
};

/// One expression. What `children` holds depends on the kind:
/// list, tuple, and, or, concat: the operands · dict: key, value, key, value … · arithmetic and
/// compare: the operands, with `operators[i]` between i and i + 1, evaluated from the left ·
/// not, negate, plus, attribute, call, filter, test: the operand (null for the input of a block
/// filter) · item: object, subscript · slice: start, stop, step, each may be null ·
/// condition: then, test, else (may be null).
struct Expr {
  ExprKind kind;
  Position at;
  int height = 1;
  std::vector<ExprPtr> children;
  std::vector<Operator> operators;
  Value constant;                    ///< kConst
  std::string name;                  ///< kName, kAttribute, kFilter, kTest
  const Builtin* builtin = nullptr;  ///< kFilter, kTest; null: unknown, an error when reached.
  CallSyntax call;                   ///< kCall, kFilter, kTest
};

enum class StmtKind : std::uint8_t {
  kData,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

/// What an assignment writes to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  Position at;
  std::string name;
  std::string attribute;      ///< Of the namespace `name`, if not empty.
  std::vector<Target> parts;  ///< Of a tuple.
  bool is_tuple = false;
};

/// The parameters and the body of a macro, or of the block that a call block passes on.
struct MacroSyntax {
  Position at;
  std::string name;
  std::vector<std::pair<std::string, ExprPtr>> parameters;  ///< With defaults, or null.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  Body body;
};

/// One statement. Fields by kind:
/// data: text · print, do: expr · if: branches, else_body · for: target, expr, test, body,
/// else_body, recursive · set: target, expr · set block: target, expr (filter or null), body ·
/// macro: macro · call block: expr (the call), macro · filter block: expr, body · with: bindings,
/// body · scope: body.
struct Stmt {
  StmtKind kind;
  Position at;
  TextRef text;
  ExprPtr expr;
  ExprPtr test;
  Target target;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<Target, ExprPtr>> bindings;
  std::unique_ptr<MacroSyntax> macro;
  Body body;
  Body else_body;
  bool recursive = false;
};

}  // namespace quern::text::jinja
