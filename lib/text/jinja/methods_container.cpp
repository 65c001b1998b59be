// Methods of mappings, lists, tuples and ranges that leave them unchanged.
#include <algorithm>
#include <iterator>

#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"

namespace quern::text::jinja {
namespace {

template <Flavor kFlavor>
Result<Value> method_view(Call& call) {
  const auto& entries = call.self.map().entries();
  QUERN_CHECK(call.interp.spend(entries.size()));
  std::vector<Value> items;
  items.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    if (kFlavor != Flavor::kItems) {
      items.push_back(kFlavor == Flavor::kKeys ? key : value);
      continue;
    }
    QUERN_TRY(pair,
              make_sequence(call.heap(), Flavor::kTuple, {key, value}, call.self.from_user()));
    items.push_back(std::move(pair));
  }
  return make_sequence(call.heap(), kFlavor, std::move(items), call.self.from_user());
}

Result<Value> method_get(Call& call) {
  if (call[0].is_string()) QUERN_CHECK(call.interp.spend_bytes(call[0].text().size()));
  QUERN_TRY(found, call.self.map().find(call[0]));
  if (found != nullptr) return *found;
  return call.args[1].has_value() ? call[1] : Value::none();
}

Result<Value> method_copy(Call& call) { return call.self; }  // Values never change.

Result<Value> method_index(Call& call) {
  const auto& items = call.self.sequence().items;
  const auto size = static_cast<std::int64_t>(items.size());
  QUERN_TRY(start, call.integer(1, 0));
  QUERN_TRY(stop, call.integer(2, size));
  const auto place = [size](std::int64_t i) {
    return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size);
  };
  for (std::int64_t i = place(start); i < place(stop); ++i) {
    QUERN_TRY(same, equal(call.interp, items[static_cast<std::size_t>(i)], call[0]));
    if (same) return Value(i);
  }
  return language_error("the value is not in the list");
}

Result<Value> method_count(Call& call) {
  std::int64_t count = 0;
  for (const Value& item : call.self.sequence().items) {
    QUERN_TRY(same, equal(call.interp, item, call[0]));
    count += same ? 1 : 0;
  }
  return Value(count);
}

constexpr Builtin kMapMethods[] = {
    {"items", "", method_view<Flavor::kItems>},
    {"keys", "", method_view<Flavor::kKeys>},
    {"values", "", method_view<Flavor::kValues>},
    {"get", "key default?", method_get},
    {"copy", "", method_copy},
};

constexpr Builtin kSequenceMethods[] = {
    {"index", "value start? stop?", method_index},
    {"count", "value", method_count},
    {"copy", "", method_copy},
};

}  // namespace

Table map_methods() { return {std::begin(kMapMethods), std::end(kMapMethods)}; }
Table sequence_methods() { return {std::begin(kSequenceMethods), std::end(kSequenceMethods)}; }

}  // namespace quern::text::jinja
