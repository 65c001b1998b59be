// Filters that apply filters or tests to each item: map, select, reject and their kin.
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"

namespace quern::text::jinja {
namespace {

const Value* named(const Args& args, std::string_view name) {
  for (const auto& [key, value] : args.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

/// A filter or test given by name with its further arguments.
struct Applied {
  const Builtin* builtin = nullptr;
  Args args;
};

Result<Applied> applied_at(const Call& call, std::size_t place, bool test) {
  const auto& positional = call.raw.positional;
  if (!positional[place].is_string())
    return language_error("the name of a filter or test must be a string");
  Applied applied;
  const std::string& name = positional[place].str();
  applied.builtin = test ? find_test(name) : find_filter(name);
  if (applied.builtin == nullptr) return unknown_builtin(test ? "test" : "filter", name);
  applied.args.positional.assign(positional.begin() + static_cast<std::ptrdiff_t>(place) + 1,
                                 positional.end());
  applied.args.named = call.raw.named;
  return applied;
}

Result<std::vector<Value>> items_of(const Call& call) {
  if (!truthy(call.self)) return std::vector<Value>();
  return iterate(call.interp, call.self);
}

Result<Value> map_attribute(Call& call, const Value& attribute) {
  const Value* otherwise = named(call.raw, "default");
  if (call.raw.named.size() != (otherwise != nullptr ? 2u : 1u)) {
    return language_error("'map' got an unknown keyword argument");
  }
  QUERN_TRY(items, items_of(call));
  for (Value& item : items) {
    QUERN_TRY(mapped, get_path(call.interp, item, attribute, otherwise));
    item = std::move(mapped);
  }
  return make_sequence(call.heap(), Flavor::kIterator, std::move(items));
}

Result<Value> filter_map(Call& call) {
  if (!truthy(call.self)) return make_sequence(call.heap(), Flavor::kIterator, {});
  if (call.raw.positional.empty()) {
    const Value* attribute = named(call.raw, "attribute");
    if (attribute == nullptr) return language_error("'map' requires the name of a filter");
    return map_attribute(call, *attribute);
  }
  QUERN_TRY(applied, applied_at(call, 0, /*test=*/false));
  QUERN_TRY(items, items_of(call));
  QUERN_CHECK(call.interp.enter_call());
  for (Value& item : items) {
    QUERN_TRY(mapped, invoke(call.interp, *applied.builtin, item, applied.args));
    item = std::move(mapped);
  }
  call.interp.leave_call();
  return make_sequence(call.heap(), Flavor::kIterator, std::move(items));
}

/// Keeps the items whose test (of an attribute, if `kAttribute`) has the outcome `kWanted`.
template <bool kWanted, bool kAttribute>
Result<Value> filter_select(Call& call) {
  constexpr std::size_t kTestPlace = kAttribute ? 1 : 0;
  const auto& positional = call.raw.positional;
  if (!truthy(call.self)) return make_sequence(call.heap(), Flavor::kIterator, {});
  if (kAttribute && positional.empty())
    return language_error("missing parameter for attribute name");
  Applied test;
  if (positional.size() > kTestPlace) {
    QUERN_TRY(applied, applied_at(call, kTestPlace, /*test=*/true));
    test = std::move(applied);
  }
  QUERN_TRY(items, items_of(call));
  std::vector<Value> kept;
  for (Value& item : items) {
    QUERN_TRY(tested,
              kAttribute ? get_path(call.interp, item, positional[0]) : Result<Value>(item));
    QUERN_CHECK(call.interp.spend(1));
    QUERN_TRY(outcome, test.builtin == nullptr
                           ? Result<Value>(tested)
                           : invoke(call.interp, *test.builtin, tested, test.args));
    if (truthy(outcome) == kWanted) kept.push_back(std::move(item));
  }
  return make_sequence(call.heap(), Flavor::kIterator, std::move(kept));
}

constexpr Builtin kFilters[] = {
    {"map", "*", filter_map},
    {"select", "*", filter_select<true, false>},
    {"reject", "*", filter_select<false, false>},
    {"selectattr", "*", filter_select<true, true>},
    {"rejectattr", "*", filter_select<false, true>},
};

}  // namespace

Table selection_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace quern::text::jinja
