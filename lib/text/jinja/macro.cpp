// Calls of macros: binding of arguments as Jinja's runtime does it.
#include <algorithm>

#include "text/jinja/interp.h"
#include "text/jinja/objects.h"

namespace quern::text::jinja {

Result<Value> Macro::call(Interp& interp, const Args& args) {
  const ScopeRef outer = scope_.lock();
  if (outer == nullptr) {
    return Error(ErrorCode::kUnsupported,
                 "the macro '" + syntax_.name + "' called after its block has ended");
  }
  QUERN_CHECK(interp.enter_call());
  const auto scope = std::make_shared<Scope>(outer);
  QUERN_CHECK(bind(interp, args, scope));
  QUERN_TRY(text, interp.run_body(syntax_.body, scope));
  interp.leave_call();
  return text;
}

Status Macro::bind(Interp& interp, const Args& args, const ScopeRef& scope) const {
  std::vector<bool> used(args.named.size(), false);
  for (std::size_t i = 0; i < syntax_.parameters.size(); ++i) {
    const auto& [name, otherwise] = syntax_.parameters[i];
    if (i < args.positional.size()) {
      scope->set(name, args.positional[i]);
      continue;
    }
    const auto named = std::find_if(args.named.begin(), args.named.end(),
                                    [&n = name](const auto& arg) { return arg.first == n; });
    if (named != args.named.end()) {
      used[static_cast<std::size_t>(named - args.named.begin())] = true;
      scope->set(name, named->second);
    } else if (otherwise != nullptr) {
      QUERN_TRY(value, interp.eval(*otherwise, scope));
      scope->set(name, std::move(value));
    } else {
      scope->set(name, Value::undefined("parameter '" + name + "' was not provided"));
    }
  }
  return bind_rest(interp, args, used, scope);
}

Status Macro::bind_rest(Interp& interp, const Args& args, const std::vector<bool>& used,
                        const ScopeRef& scope) const {
  const auto is_parameter = [this](std::string_view name) {
    return std::any_of(syntax_.parameters.begin(), syntax_.parameters.end(),
                       [name](const auto& parameter) { return parameter.first == name; });
  };
  const bool takes_caller = syntax_.uses_caller && !is_parameter("caller");
  Value caller = Value::undefined("No caller defined");
  Map rest;
  for (std::size_t i = 0; i < args.named.size(); ++i) {
    const auto& [name, value] = args.named[i];
    if (used[i]) continue;
    if (takes_caller && name == "caller") {
      caller = value;
    } else if (syntax_.uses_kwargs) {
      QUERN_TRY(key, make_string(interp.heap(), name, true));
      QUERN_CHECK(rest.set(std::move(key), value));
    } else {
      return language_error("the macro '" + syntax_.name + "' takes no keyword argument '" + name +
                            "'");
    }
  }
  if (takes_caller) scope->set("caller", std::move(caller));
  if (syntax_.uses_kwargs) {
    QUERN_TRY(kwargs, make_map(interp.heap(), std::move(rest)));
    scope->set("kwargs", std::move(kwargs));
  }
  const std::size_t taken = std::min(syntax_.parameters.size(), args.positional.size());
  if (syntax_.uses_varargs) {
    std::vector<Value> surplus(args.positional.begin() + static_cast<std::ptrdiff_t>(taken),
                               args.positional.end());
    QUERN_TRY(varargs, make_sequence(interp.heap(), Flavor::kTuple, std::move(surplus)));
    scope->set("varargs", std::move(varargs));
  } else if (args.positional.size() > taken) {
    return language_error("the macro '" + syntax_.name + "' takes not more than " +
                          std::to_string(syntax_.parameters.size()) + " arguments");
  }
  return {};
}

Result<Value> Macro::attribute(Interp& interp, std::string_view name) {
  if (name == "name") {
    return anonymous_ ? Result<Value>(Value::none())
                      : make_string(interp.heap(), syntax_.name, true);
  }
  if (name == "catch_kwargs") return Value(syntax_.uses_kwargs);
  if (name == "catch_varargs") return Value(syntax_.uses_varargs);
  if (name == "caller") return Value(syntax_.uses_caller);
  if (name != "arguments") return Object::attribute(interp, name);
  std::vector<Value> names;
  for (const auto& parameter : syntax_.parameters) {
    QUERN_TRY(text, make_string(interp.heap(), parameter.first, true));
    names.push_back(std::move(text));
  }
  return make_sequence(interp.heap(), Flavor::kTuple, std::move(names));
}

Result<Value> Macro::print(Interp& interp) {
  return make_string(interp.heap(),
                     anonymous_ ? "<Macro anonymous>" : "<Macro '" + syntax_.name + "'>", true);
}

}  // namespace quern::text::jinja
