#include "text/jinja/access.h"
#include "text/jinja/interp.h"
#include "text/jinja/objects.h"
#include "text/jinja/printer.h"

namespace quern::text::jinja {
namespace {

/// Ends a loop whichever way its statement is left.
struct Finisher {
  Loop& loop;
  ~Finisher() { loop.finish(); }
};

}  // namespace

Interp::Interp(const RenderOptions& options)
    : options_(options), heap_(options.limits.value_bytes), steps_left_(options.limits.steps) {}

Interp::~Interp() {
  // Namespaces may refer to one another; emptied one by one, none is freed within another.
  for (const auto& space : namespaces_) space->clear();
}

Status Interp::spend(std::size_t steps) {
  if (steps > steps_left_) {
    steps_left_ = 0;
    return Error(ErrorCode::kLimit, "the template takes too many steps")
        .want("at most " + std::to_string(options_.limits.steps));
  }
  steps_left_ -= steps;
  return {};
}

Status Interp::enter_call() {
  if (++call_depth_ <= options_.limits.call_depth) return {};
  return Error(ErrorCode::kLimit, "calls are nested too deeply")
      .want("at most " + std::to_string(options_.limits.call_depth) + " levels");
}

Result<Value> Interp::make_namespace() {
  constexpr std::size_t kBytes = sizeof(Namespace) + 64;
  // Never given back: the namespace lives as long as the render.
  if (!heap_.charge(kBytes)) return heap_.exhausted();
  namespaces_.push_back(std::make_shared<Namespace>());
  return Value(ObjectRef(namespaces_.back()));
}

Result<ScopeRef> Interp::new_scope(const ScopeRef& parent) {
  QUERN_CHECK(spend(1));
  return std::make_shared<Scope>(parent);
}

Result<TextRef> Interp::render(const Body& body, const Value& variables) {
  const auto globals = std::make_shared<Scope>(nullptr);
  for (const Builtin* row = functions().begin; row != functions().end; ++row) {
    QUERN_TRY(function, make_object<Function>(heap_, *row));
    globals->set(row->name, std::move(function));
  }
  for (const auto& [key, value] : variables.map().entries()) globals->set(key.str(), value);
  const auto scope = std::make_shared<Scope>(globals);
  TextBuilder out(heap_, options_.limits.output_bytes);
  QUERN_CHECK(exec(body, scope, out));
  return out.finish();
}

Result<Value> Interp::run_body(const Body& body, const ScopeRef& scope) {
  TextBuilder out(heap_, options_.limits.output_bytes);
  QUERN_CHECK(exec(body, scope, out));
  return make_string(out);
}

Status Interp::exec_scoped(const Body& body, const ScopeRef& parent, TextBuilder& out) {
  QUERN_TRY(scope, new_scope(parent));
  QUERN_CHECK(exec(body, scope, out));
  return {};
}

Result<Interp::Flow> Interp::exec(const Body& body, const ScopeRef& scope, TextBuilder& out) {
  if (++depth_ > options_.limits.eval_depth) {
    return Error(ErrorCode::kLimit, "evaluation is nested too deeply")
        .want("at most " + std::to_string(options_.limits.eval_depth) + " levels");
  }
  for (const auto& stmt : body) {
    auto flow = exec_one(*stmt, scope, out);
    if (!flow.ok()) return locate(std::move(flow).error(), stmt->at);
    if (*flow == Flow::kNext) continue;
    --depth_;
    return flow;
  }
  --depth_;
  return Flow::kNext;
}

Result<Interp::Flow> Interp::exec_one(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_CHECK(spend(1));
  if (out.failed()) return out.failure();
  Status status;
  switch (stmt.kind) {
    case StmtKind::kData:
      out.append(*stmt.text);
      break;
    case StmtKind::kPrint:
      status = exec_print(stmt, scope, out);
      break;
    case StmtKind::kIf:
      return exec_if(stmt, scope, out);
    case StmtKind::kFor:
      status = exec_for(stmt, scope, out);
      break;
    case StmtKind::kSet: {
      QUERN_TRY(value, eval(*stmt.expr, scope));
      status = assign(stmt.target, std::move(value), scope);
      break;
    }
    case StmtKind::kSetBlock:
      status = exec_set_block(stmt, scope);
      break;
    case StmtKind::kMacro:
      status = define_macro(stmt, scope);
      break;
    case StmtKind::kCallBlock:
      status = exec_call_block(stmt, scope, out);
      break;
    case StmtKind::kFilterBlock:
      status = exec_filter_block(stmt, scope, out);
      break;
    case StmtKind::kWith:
      status = exec_with(stmt, scope, out);
      break;
    case StmtKind::kScope:
      status = exec_scoped(stmt.body, scope, out);
      break;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  if (!status.ok()) return std::move(status).error();
  return Flow::kNext;
}

Status Interp::define_macro(const Stmt& stmt, const ScopeRef& scope) {
  QUERN_TRY(macro, make_object<Macro>(heap_, *stmt.macro, scope, /*anonymous=*/false));
  scope->set(stmt.macro->name, std::move(macro));
  return {};
}

Status Interp::exec_print(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(value, eval(*stmt.expr, scope));
  return append_str(*this, out, value);
}

Result<Interp::Flow> Interp::exec_if(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  for (const auto& [test, body] : stmt.branches) {
    QUERN_TRY(value, eval(*test, scope));
    if (truthy(value)) return exec(body, scope, out);
  }
  return exec(stmt.else_body, scope, out);
}

Status Interp::exec_for(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(iterable, eval(*stmt.expr, scope));
  return run_loop(stmt, iterable, scope, 0, out);
}

Status Interp::run_loop(const Stmt& stmt, const Value& iterable, const ScopeRef& scope, int depth,
                        TextBuilder& out) {
  QUERN_TRY(items, iterate(*this, iterable));
  QUERN_TRY(loop_value, make_object<Loop>(heap_, *this, stmt, std::move(items), scope, depth));
  auto* loop = static_cast<Loop*>(&loop_value.object());
  const Finisher finisher{*loop};
  bool any = false;  // `else` runs also where every iteration that began was left early.
  while (true) {
    QUERN_TRY(item, loop->advance());
    if (item == nullptr) break;
    QUERN_TRY(flow, exec_iteration(stmt, *item, loop_value, scope, out));
    any = any || flow == Flow::kNext;
    if (flow == Flow::kBreak) break;
  }
  return any || stmt.else_body.empty() ? Status() : exec_scoped(stmt.else_body, scope, out);
}

Result<Interp::Flow> Interp::exec_iteration(const Stmt& stmt, const Value& item, const Value& loop,
                                            const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(inner, new_scope(scope));
  inner->set("loop", loop);
  QUERN_CHECK(assign(stmt.target, item, inner));
  return exec(stmt.body, inner, out);
}

Status Interp::exec_set_block(const Stmt& stmt, const ScopeRef& scope) {
  QUERN_TRY(inner, new_scope(scope));
  QUERN_TRY(text, run_body(stmt.body, inner));
  if (stmt.expr == nullptr) return assign(stmt.target, std::move(text), scope);
  QUERN_TRY(filtered, eval_filters(*stmt.expr, text, inner));
  return assign(stmt.target, std::move(filtered), scope);
}

Status Interp::exec_filter_block(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(inner, new_scope(scope));
  QUERN_TRY(text, run_body(stmt.body, inner));
  QUERN_TRY(filtered, eval_filters(*stmt.expr, text, inner));
  return append_str(*this, out, filtered);
}

Status Interp::exec_call_block(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(callee, eval(*stmt.expr->children[0], scope));
  QUERN_TRY(args, eval_arguments(stmt.expr->call, scope));
  QUERN_TRY(caller, make_object<Macro>(heap_, *stmt.macro, scope, /*anonymous=*/true));
  args.named.emplace_back("caller", std::move(caller));
  QUERN_TRY(result, call(callee, args));
  return append_str(*this, out, result);
}

Status Interp::exec_with(const Stmt& stmt, const ScopeRef& scope, TextBuilder& out) {
  QUERN_TRY(inner, new_scope(scope));
  for (const auto& [target, expr] : stmt.bindings) {
    QUERN_TRY(value, eval(*expr, scope));
    QUERN_CHECK(assign(target, std::move(value), inner));
  }
  QUERN_CHECK(exec(stmt.body, inner, out));
  return {};
}

Status Interp::assign(const Target& target, Value value, const ScopeRef& scope) {
  QUERN_CHECK(spend(1));
  if (!target.attribute.empty()) {
    const Value* owner = scope->find(target.name);
    auto* space = owner != nullptr && owner->is_object()
                      ? dynamic_cast<Namespace*>(&owner->object())
                      : nullptr;
    if (space == nullptr) {
      return locate(language_error("cannot assign an attribute of what is no namespace"),
                    target.at);
    }
    return space->set(*this, target.attribute, std::move(value));
  }
  if (!target.is_tuple) {
    scope->set(target.name, std::move(value));
    return {};
  }
  QUERN_TRY(items, iterate(*this, value));
  if (items.size() != target.parts.size()) {
    return locate(language_error("cannot unpack " + std::to_string(items.size()) + " values into " +
                                 std::to_string(target.parts.size()) + " names"),
                  target.at);
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    QUERN_CHECK(assign(target.parts[i], std::move(items[i]), scope));
  }
  return {};
}

}  // namespace quern::text::jinja
