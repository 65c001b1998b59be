#include "text/jinja/builtins.h"

#include <algorithm>

#include "text/jinja/interp.h"

namespace quern::text::jinja {
namespace {

/// Walks the words of a row's `params`.
struct Parameters {
  std::string_view rest;
  bool take(std::string_view& name, bool& optional) {
    if (rest.empty()) return false;
    const std::size_t space = std::min(rest.find(' '), rest.size());
    name = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
    optional = name.back() == '?';
    if (optional) name.remove_suffix(1);
    return true;
  }
};

const Builtin* find_in(Table table, std::string_view name) {
  const auto* found =
      std::find_if(table.begin, table.end, [name](const Builtin& row) { return row.name == name; });
  return found == table.end ? nullptr : found;
}

template <class... Tables>
const Builtin* find_in_all(std::string_view name, Tables... tables) {
  const Builtin* found = nullptr;
  ((found = found != nullptr ? found : find_in(tables, name)), ...);
  return found;
}

const Value* named(const Args& args, std::string_view name) {
  for (const auto& [key, value] : args.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

Heap& Call::heap() const { return interp.heap(); }

Error Call::bad_argument(std::size_t i, std::string_view want) const {
  return language_error("'" + std::string(builtin.name) + "' got a wrong argument")
      .want(std::string(want))
      .got(args[i].has_value() ? args[i]->type_name() : "nothing");
}

Result<std::int64_t> Call::integer(std::size_t i, std::int64_t otherwise) const {
  if (!args[i].has_value()) return otherwise;
  if (!args[i]->is_integral()) return bad_argument(i, "an integer");
  return args[i]->as_int();
}

bool Call::flag(std::size_t i, bool otherwise) const {
  return args[i].has_value() ? truthy(*args[i]) : otherwise;
}

Result<TextRef> Call::string(std::size_t i) const {
  if (!args[i].has_value() || !args[i]->is_string()) return bad_argument(i, "a string");
  return args[i]->text_ref();
}

Result<Value> invoke(Interp& interp, const Builtin& builtin, const Value& self, const Args& args) {
  Call call{interp, builtin, self, args, {}};
  if (builtin.params == "*") return builtin.run(call);
  const auto wrong = [&builtin](std::string text) {
    return language_error("'" + std::string(builtin.name) + "' " + std::move(text));
  };
  Parameters parameters{builtin.params};
  std::string_view name;
  bool optional = false;
  std::size_t used_names = 0;
  while (parameters.take(name, optional)) {
    const Value* by_name = named(args, name);
    const bool by_place = call.args.size() < args.positional.size();
    if (by_name != nullptr && by_place)
      return wrong("got two values for '" + std::string(name) + "'");
    if (by_name == nullptr && !by_place && !optional)
      return wrong("needs the argument '" + std::string(name) + "'");
    used_names += by_name != nullptr ? 1 : 0;
    if (by_place)
      call.args.emplace_back(args.positional[call.args.size()]);
    else if (by_name != nullptr)
      call.args.emplace_back(*by_name);
    else
      call.args.emplace_back(std::nullopt);
  }
  if (args.positional.size() > call.args.size()) {
    return wrong("takes at most " + std::to_string(call.args.size()) + " arguments");
  }
  if (used_names != args.named.size()) return wrong("got an unknown keyword argument");
  return builtin.run(call);
}

const Builtin* find_filter(std::string_view name) {
  return find_in_all(name, text_filters(), sequence_filters(), selection_filters(),
                     number_filters());
}
const Builtin* find_test(std::string_view name) { return find_in(tests(), name); }
const Builtin* find_function(std::string_view name) { return find_in(functions(), name); }

const Builtin* find_method(const Value& self, std::string_view name) {
  if (self.is_string()) return find_in_all(name, text_methods(), search_methods());
  if (self.is_map()) return find_in(map_methods(), name);
  if (self.is_sequence() && self.sequence().is_indexable()) {
    if (name == "copy" && self.sequence().flavor != Flavor::kList) return nullptr;
    return find_in(sequence_methods(), name);
  }
  return nullptr;
}

bool is_mutating_method(const Value& self, std::string_view name) {
  static constexpr std::string_view kMap[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  const auto holds = [name](const auto& words) {
    return std::find(std::begin(words), std::end(words), name) != std::end(words);
  };
  if (self.is_map()) return holds(kMap);
  return self.is_sequence() && self.sequence().flavor == Flavor::kList && holds(kList);
}

Error unknown_builtin(std::string_view what, std::string_view name) {
  return Error(ErrorCode::kUnsupported,
               "there is no " + std::string(what) + " named '" + std::string(name) + "'");
}

}  // namespace quern::text::jinja
