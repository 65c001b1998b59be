#include "text/jinja/objects.h"

#include <algorithm>

#include "text/jinja/access.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"

namespace quern::text::jinja {
namespace {

/// A method of a stateful object, e.g. `loop.cycle`.
template <class Owner>
class ObjectMethod final : public Object {
 public:
  using Run = Result<Value> (*)(Owner& owner, Interp& interp, const Args& args);
  ObjectMethod(ObjectRef owner, Run run) : owner_(std::move(owner)), run_(run) {}
  std::string type_name() const override { return "method"; }
  bool callable() const override { return true; }
  int depth() const override { return 1 + owner_->depth(); }
  Result<Value> call(Interp& interp, const Args& args) override {
    return run_(static_cast<Owner&>(*owner_), interp, args);
  }

 private:
  ObjectRef owner_;
  Run run_;
};

}  // namespace

Result<Value> BoundMethod::call(Interp& interp, const Args& args) {
  return invoke(interp, method_, self_, args);
}

Result<Value> Function::call(Interp& interp, const Args& args) {
  return invoke(interp, builtin_, Value(), args);
}

Result<Value> Namespace::attribute(Interp& interp, std::string_view name) {
  if (const Value* value = values_.find(name); value != nullptr) return *value;
  return Object::attribute(interp, name);
}

Status Namespace::set(Interp& interp, const std::string& name, Value value) {
  QUERN_TRY(key, make_string(interp.heap(), name, true));
  const std::size_t before = values_.size();
  QUERN_CHECK(values_.set(std::move(key), std::move(value)));
  if (values_.size() == before) return {};
  const std::size_t bytes = values_.size() * sizeof(Map::Entry);
  if (!interp.heap().charge(bytes)) return interp.heap().exhausted();
  entries_charge_ = Charge(&interp.heap(), bytes);
  return {};
}

Result<Value> Namespace::print(Interp& interp) {
  QUERN_CHECK(interp.enter_call());
  TextBuilder out(interp.heap());
  out.append("<Namespace {", true);
  bool first = true;
  for (const auto& [key, value] : values_.entries()) {
    if (!first) out.append(", ", true);
    first = false;
    QUERN_CHECK(append_repr(interp, out, key));
    out.append(": ", true);
    QUERN_CHECK(append_repr(interp, out, value));
  }
  out.append("}>", true);
  interp.leave_call();
  return make_string(out);
}

Result<Value> Cycler::attribute(Interp& interp, std::string_view name) {
  using Method = ObjectMethod<Cycler>;
  if (name == "current") return items_[at_];
  if (name == "next") {
    return make_object<Method>(
        interp.heap(), shared_from_this(),
        [](Cycler& self, Interp&, const Args&) -> Result<Value> { return self.next(); });
  }
  if (name == "reset") {
    return make_object<Method>(interp.heap(), shared_from_this(),
                               [](Cycler& self, Interp&, const Args&) -> Result<Value> {
                                 self.reset();
                                 return Value::none();
                               });
  }
  return Object::attribute(interp, name);
}

int Cycler::depth() const {
  int depth = 0;
  for (const Value& item : items_) depth = std::max(depth, item.depth());
  return 1 + depth;
}

Value Cycler::next() {
  Value value = items_[at_];
  at_ = (at_ + 1) % items_.size();
  return value;
}

Result<Value> Joiner::call(Interp& interp, const Args&) {
  if (used_) return separator_;
  used_ = true;
  return make_string(interp.heap(), "", true);
}

Result<Value> Loop::call(Interp& interp, const Args& args) {
  if (!stmt_.recursive) return language_error("the loop is not marked as recursive");
  if (args.positional.size() != 1 || !args.named.empty())
    return language_error("loop() takes one sequence");
  const ScopeRef scope = scope_.lock();
  if (scope == nullptr) return Error(ErrorCode::kUnsupported, "a loop called after its end");
  QUERN_CHECK(interp.enter_call());
  TextBuilder out(interp.heap(), interp.max_output_bytes());
  QUERN_CHECK(interp.run_loop(stmt_, args.positional[0], scope, depth_ + 1, out));
  interp.leave_call();
  return make_string(out);
}

Result<bool> Loop::look_ahead(std::size_t count) {
  while (ahead_.size() < count && next_ < items_.size()) {
    Value item = std::move(items_[next_++]);
    if (stmt_.test != nullptr) {
      const ScopeRef outer = scope_.lock();
      if (outer == nullptr) return Error(ErrorCode::kUnsupported, "a loop used after its end");
      const auto scope = std::make_shared<Scope>(outer);
      QUERN_CHECK(interp_.assign(stmt_.target, item, scope));
      QUERN_TRY(passed, interp_.eval(*stmt_.test, scope));
      if (!truthy(passed)) continue;
    }
    ahead_.push_back(std::move(item));
  }
  return ahead_.size() >= count;
}

Result<const Value*> Loop::advance() {
  QUERN_TRY(more, look_ahead(1));
  if (!more) return static_cast<const Value*>(nullptr);
  if (current_.has_value()) previous_ = std::move(current_);
  current_ = std::move(ahead_.front());
  ahead_.pop_front();
  ++index0_;
  return static_cast<const Value*>(&*current_);
}

Result<std::size_t> Loop::length() {
  QUERN_CHECK(look_ahead(items_.size() + 1));  // All of them.
  return ahead_.size() + static_cast<std::size_t>(index0_ + 1);
}

void Loop::finish() {
  finished_ = true;
  items_.clear();
  next_ = 0;
  ahead_.clear();
  current_.reset();
  previous_.reset();
  seen_.reset();
}

Result<Value> Loop::cycle(const Args& args) const {
  if (finished_) return Error(ErrorCode::kUnsupported, "a loop used after its end");
  if (args.positional.empty()) return language_error("no items for cycling given");
  return args.positional[static_cast<std::size_t>(index0_) % args.positional.size()];
}

Result<Value> Loop::attribute(Interp& interp, std::string_view name) {
  using Method = ObjectMethod<Loop>;
  if (finished_) return Error(ErrorCode::kUnsupported, "a loop used after its end");
  const auto number = [](std::int64_t n) { return Value(n); };
  if (name == "index0") return number(index0_);
  if (name == "index") return number(index0_ + 1);
  if (name == "first") return Value(index0_ == 0);
  if (name == "depth0") return number(depth_);
  if (name == "depth") return number(depth_ + 1);
  if (name == "length" || name == "revindex" || name == "revindex0") {
    QUERN_TRY(count, length());
    const auto total = static_cast<std::int64_t>(count);
    return number(name == "length" ? total : total - index0_ - (name == "revindex0" ? 1 : 0));
  }
  if (name == "last") {
    QUERN_TRY(more, look_ahead(1));
    return Value(!more);
  }
  if (name == "nextitem") {
    QUERN_TRY(more, look_ahead(1));
    return more ? ahead_.front() : Value::undefined("there is no next item");
  }
  if (name == "previtem") {
    return previous_.has_value() ? *previous_ : Value::undefined("there is no previous item");
  }
  if (name == "cycle") {
    return make_object<Method>(
        interp.heap(), shared_from_this(),
        [](Loop& self, Interp&, const Args& args) { return self.cycle(args); });
  }
  if (name == "changed") {
    return make_object<Method>(
        interp.heap(), shared_from_this(),
        [](Loop& self, Interp&, const Args& args) { return self.changed(args); });
  }
  return Object::attribute(interp, name);
}

Result<Value> Loop::changed(const Args& args) {
  if (finished_) return Error(ErrorCode::kUnsupported, "a loop used after its end");
  bool same = seen_.has_value() && seen_->size() == args.positional.size();
  for (std::size_t i = 0; same && i < args.positional.size(); ++i) {
    QUERN_TRY(equal_item, equal(interp_, (*seen_)[i], args.positional[i]));
    same = equal_item;
  }
  if (!same) seen_ = args.positional;
  return Value(!same);
}

Result<Value> Loop::print(Interp& interp) {
  if (finished_) return Error(ErrorCode::kUnsupported, "a loop used after its end");
  QUERN_TRY(count, length());
  return make_string(
      interp.heap(),
      "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(count) + ">", true);
}

}  // namespace quern::text::jinja
