/// \file
/// Values with behaviour: methods, functions, macros, loops, namespaces, cyclers, joiners.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/scope.h"
#include "text/jinja/value.h"

namespace quern::text::jinja {

/// `value.method`, not called yet.
class BoundMethod final : public Object {
 public:
  BoundMethod(Value self, const Builtin& method) : self_(std::move(self)), method_(method) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  int depth() const override { return 1 + self_.depth(); }
  Result<Value> call(Interp& interp, const Args& args) override;

 private:
  Value self_;
  const Builtin& method_;
};

/// A global function.
class Function final : public Object {
 public:
  explicit Function(const Builtin& builtin) : builtin_(builtin) {}
  std::string type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Result<Value> call(Interp& interp, const Args& args) override;

 private:
  const Builtin& builtin_;
};

/// The one value that a template can change: `{% set ns.x = … %}`.
class Namespace final : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  Result<Value> attribute(Interp& interp, std::string_view name) override;
  Result<Value> print(Interp& interp) override;
  Status set(Interp& interp, const std::string& name, Value value);
  void clear() { values_ = Map(); }

 private:
  Map values_;
  Charge entries_charge_;
};

/// A macro, or the block that a call block hands over as `caller`.
class Macro final : public Object {
 public:
  Macro(const MacroSyntax& syntax, const ScopeRef& scope, bool anonymous)
      : syntax_(syntax), scope_(scope), anonymous_(anonymous) {}
  std::string type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Result<Value> call(Interp& interp, const Args& args) override;
  Result<Value> attribute(Interp& interp, std::string_view name) override;
  Result<Value> print(Interp& interp) override;

 private:
  Status bind(Interp& interp, const Args& args, const ScopeRef& scope) const;
  Status bind_rest(Interp& interp, const Args& args, const std::vector<bool>& used,
                   const ScopeRef& scope) const;

  const MacroSyntax& syntax_;
  std::weak_ptr<Scope> scope_;  ///< Weak: a scope holds its macros.
  bool anonymous_;
};

/// `loop` of a for loop: pulls the items through the loop's filter as they are asked for.
class Loop final : public Object {
 public:
  Loop(Interp& interp, const Stmt& stmt, std::vector<Value> items, const ScopeRef& scope, int depth)
      : interp_(interp), stmt_(stmt), items_(std::move(items)), scope_(scope), depth_(depth) {}
  std::string type_name() const override { return "LoopContext"; }
  bool callable() const override { return true; }
  Result<Value> call(Interp& interp, const Args& args) override;
  Result<Value> attribute(Interp& interp, std::string_view name) override;
  Result<Value> print(Interp& interp) override;
  /// Moves to the next item. \return nullptr at the end.
  Result<const Value*> advance();
  Result<Value> cycle(const Args& args) const;
  Result<Value> changed(const Args& args);
  /// Drops what it holds, which ends cycles: a loop that escaped its statement is of no more use.
  void finish();

 private:
  /// Looks `count` items ahead. \return whether there are so many.
  Result<bool> look_ahead(std::size_t count);
  Result<std::size_t> length();

  Interp& interp_;
  const Stmt& stmt_;
  std::vector<Value> items_;  ///< Not yet filtered from `next_` on.
  std::size_t next_ = 0;
  std::deque<Value> ahead_;  ///< Passed the filter, not reached yet.
  std::optional<Value> current_;
  std::optional<Value> previous_;
  std::optional<std::vector<Value>> seen_;  ///< Of changed().
  std::weak_ptr<Scope> scope_;
  std::int64_t index0_ = -1;
  int depth_;
  bool finished_ = false;
};

class Cycler final : public Object {
 public:
  /// \pre items is not empty
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  int depth() const override;
  std::string type_name() const override { return "Cycler"; }
  Result<Value> attribute(Interp& interp, std::string_view name) override;
  Value next();
  void reset() { at_ = 0; }

 private:
  std::vector<Value> items_;
  std::size_t at_ = 0;
};

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  int depth() const override { return 1 + separator_.depth(); }
  bool callable() const override { return true; }
  Result<Value> call(Interp& interp, const Args& args) override;

 private:
  Value separator_;
  bool used_ = false;
};

}  // namespace quern::text::jinja
