/// \file
/// Evaluates a parsed template once: holds the budgets, the output and the state of one render.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/chat_template.h"
#include "text/jinja/ast.h"
#include "text/jinja/heap.h"
#include "text/jinja/scope.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

class Namespace;

/// One render. Belongs to one thread; must outlive every value that it makes.
class Interp {
 public:
  explicit Interp(const RenderOptions& options);
  ~Interp();
  Interp(const Interp&) = delete;
  Interp& operator=(const Interp&) = delete;

  /// Renders `body` with `variables` (a mapping) in the outermost scope.
  Result<TextRef> render(const Body& body, const Value& variables);

  // What filters, tests, methods and objects use.
  Heap& heap() noexcept { return heap_; }
  const RenderOptions& options() const noexcept { return options_; }
  /// Counts work: kLimit once the steps are used up.
  Status spend(std::size_t steps);
  /// Counts work on `bytes` of text (1 step per 256 bytes).
  Status spend_bytes(std::size_t bytes) { return spend(bytes >> 8); }
  /// Calls any value: macro, bound method, function; kInvalidArgument if it is not callable.
  Result<Value> call(const Value& callee, const Args& args);
  /// Counts one level of calls; kLimit beyond options().limits.call_depth.
  Status enter_call();
  void leave_call() noexcept { --call_depth_; }
  /// Runs a macro's body with `scope` as its variables. \return its text.
  Result<Value> run_body(const Body& body, const ScopeRef& scope);
  Result<Value> eval(const Expr& expr, const ScopeRef& scope);
  /// Makes a namespace; this render owns it, so that cycles of namespaces end with it.
  Result<Value> make_namespace();
  /// Renders a for loop over `iterable`: the body of the statement and of `loop(…)`.
  Status run_loop(const Stmt& stmt, const Value& iterable, const ScopeRef& scope, int depth,
                  TextBuilder& out);
  Status assign(const Target& target, Value value, const ScopeRef& scope);
  std::size_t max_output_bytes() const noexcept { return options_.limits.output_bytes; }

 private:
  enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

  // eval_statements.cpp
  Result<Flow> exec(const Body& body, const ScopeRef& scope, TextBuilder& out);
  Result<Flow> exec_one(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Result<Flow> exec_if(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Status define_macro(const Stmt& stmt, const ScopeRef& scope);
  Status exec_print(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Status exec_for(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Status exec_set_block(const Stmt& stmt, const ScopeRef& scope);
  Status exec_call_block(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Status exec_filter_block(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  Status exec_with(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out);
  /// Runs a body in a scope of its own.
  Status exec_scoped(const Body& body, const ScopeRef& parent, TextBuilder& out);
  /// Runs one iteration. \return how it ended.
  Result<Flow> exec_iteration(const Stmt& stmt, const Value& item, const Value& loop,
                              const ScopeRef& scope, TextBuilder& out);
  Result<ScopeRef> new_scope(const ScopeRef& parent);

  // eval_expressions.cpp
  Result<Value> eval_kind(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_name(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_items(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_dict(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_arithmetic(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_compare(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_logic(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_unary(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_concat(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_condition(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_attribute(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_item(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_call(const Expr& expr, const ScopeRef& scope);
  Result<Value> eval_builtin(const Expr& expr, const ScopeRef& scope);
  Result<Value> apply_builtin(const Expr& expr, const Value& operand, const ScopeRef& scope);
  /// A chain of filters over `input`, which stands where the innermost has no operand.
  Result<Value> eval_filters(const Expr& expr, const Value& input, const ScopeRef& scope);
  Result<Args> eval_arguments(const CallSyntax& call, const ScopeRef& scope);
  Status eval_starred(const CallSyntax& call, const ScopeRef& scope, Args& args);

  const RenderOptions& options_;
  Heap heap_;
  std::size_t steps_left_;
  int call_depth_ = 0;
  int depth_ = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace quern::text::jinja
