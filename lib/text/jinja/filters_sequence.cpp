// Filters on sequences and mappings.
#include <algorithm>
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/stable_sort.h"
#include "text/jinja/text_ops.h"

namespace quern::text::jinja {
namespace {

/// An item with what it is sorted or grouped by.
struct Keyed {
  Value key;
  Value item;
};

/// Strings in lower case unless `case_sensitive`.
Result<Value> fold_case(Interp& interp, Value value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  return change_case(interp, value, CaseChange::kLower);
}

/// The attribute that a filter's argument names (the item itself where it names none).
Result<Value> key_of(Call& call, const Value& item, std::size_t attribute, bool case_sensitive) {
  QUERN_TRY(key, call.has(attribute) ? get_path(call.interp, item, call[attribute])
                                     : Result<Value>(item));
  return fold_case(call.interp, std::move(key), case_sensitive);
}

Status sort_keyed(Interp& interp, std::vector<Keyed>& items, bool reverse,
                  bool undefined_is_equal = false) {
  if (reverse) std::reverse(items.begin(), items.end());
  QUERN_CHECK(stable_sort(items, [&](const Keyed& a, const Keyed& b) -> Result<bool> {
    if (undefined_is_equal && a.key.is_undefined() && b.key.is_undefined()) return false;
    return less(interp, a.key, b.key);
  }));
  if (reverse) std::reverse(items.begin(), items.end());
  return {};
}

std::vector<Value> items_of(std::vector<Keyed> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& each : keyed) items.push_back(std::move(each.item));
  return items;
}

Result<Value> make_iterator(const Call& call, std::vector<Value> items) {
  return make_sequence(call.heap(), Flavor::kIterator, std::move(items));
}

Result<Value> filter_length(Call& call) {
  QUERN_TRY(length, length_of(call.self));
  return Value(length);
}

Result<Value> filter_first(Call& call) {
  const Value& self = call.self;
  if (self.is_string() && self.text().size() > 0) {
    QUERN_TRY(character, substring(call.interp, self, 0, 1));
    return std::move(character).mark_markup(false);
  }
  if (self.is_sequence()) {
    const Sequence& sequence = self.sequence();
    if (sequence.cursor < sequence.items.size()) {
      return sequence.items[sequence.is_iterator() ? sequence.cursor++ : 0];
    }
  } else if (self.is_map() && self.map().size() > 0) {
    return self.map().entries().front().first;
  } else if (!is_iterable(self)) {
    return language_error("'" + self.type_name() + "' object is not iterable");
  }
  return Value::undefined("no first item, sequence was empty");
}

Result<Value> filter_last(Call& call) {
  const Value& self = call.self;
  if (self.is_string() && self.text().size() > 0) {
    return substring(call.interp, self, self.text().length() - 1, self.text().length());
  }
  if (self.is_sequence() && !self.sequence().is_iterator()) {
    if (!self.sequence().items.empty()) return self.sequence().items.back();
  } else if (self.is_map() && self.map().size() > 0) {
    return self.map().entries().back().first;
  } else if (!is_iterable(self) || self.is_sequence()) {
    return language_error("'" + self.type_name() + "' object is not reversible");
  }
  return Value::undefined("no last item, sequence was empty");
}

Result<Value> filter_list(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  return make_sequence(call.heap(), Flavor::kList, std::move(items), call.self.from_user());
}

Result<Value> filter_join(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  if (call.has(1)) {
    for (Value& item : items) {
      QUERN_TRY(attribute, get_path(call.interp, item, call[1]));
      item = std::move(attribute);
    }
  }
  QUERN_TRY(nothing, make_string(call.heap(), "", true));
  QUERN_TRY(separator, to_str(call.interp, call.args[0].has_value() ? call[0] : nothing));
  return join(call.interp, separator, items);
}

Result<Value> filter_reverse(Call& call) {
  if (call.self.is_string())
    return get_slice(call.interp, call.self, {std::nullopt, std::nullopt, -1});
  QUERN_TRY(items, iterate(call.interp, call.self));
  std::reverse(items.begin(), items.end());
  const bool reversible =
      call.self.is_map() || (call.self.is_sequence() && !call.self.sequence().is_iterator());
  if (!reversible) return list_of(call.interp, std::move(items));
  return make_iterator(call, std::move(items));
}

Result<Value> filter_items(Call& call) {
  std::vector<Value> pairs;
  if (call.self.is_map()) {
    QUERN_CHECK(call.interp.spend(call.self.map().size()));
    for (const auto& [key, value] : call.self.map().entries()) {
      QUERN_TRY(pair,
                make_sequence(call.heap(), Flavor::kTuple, {key, value}, call.self.from_user()));
      pairs.push_back(std::move(pair));
    }
  } else if (!call.self.is_undefined()) {
    return language_error("can only get item pairs from a mapping");
  }
  return make_iterator(call, std::move(pairs));
}

Result<Value> filter_dictsort(Call& call) {
  if (!call.self.is_map())
    return language_error("'dictsort' needs a mapping, not '" + call.self.type_name() + "'");
  std::size_t by = 0;
  if (call.args[1].has_value()) {
    QUERN_TRY(word, call.string(1));
    if (word->bytes() != "key" && word->bytes() != "value")
      return call.bad_argument(1, "'key' or 'value'");
    by = word->bytes() == "value" ? 1 : 0;
  }
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : call.self.map().entries()) {
    QUERN_TRY(pair,
              make_sequence(call.heap(), Flavor::kTuple, {key, value}, call.self.from_user()));
    QUERN_TRY(sort_key, fold_case(call.interp, by == 0 ? key : value, call.flag(0, false)));
    keyed.push_back({std::move(sort_key), std::move(pair)});
  }
  QUERN_CHECK(sort_keyed(call.interp, keyed, call.flag(2, false)));
  return list_of(call.interp, items_of(std::move(keyed)));
}

/// The keys of `sort`: a tuple of attributes, "a,b.c".
Result<Value> sort_key(Call& call, const Value& item, bool case_sensitive) {
  if (!call.has(2) || !call[2].is_string() || call[2].str().find(',') == std::string::npos) {
    return key_of(call, item, 2, case_sensitive);
  }
  QUERN_TRY(comma, make_string(call.heap(), ",", true));
  QUERN_TRY(names, split(call.interp, call[2], &comma.text(), -1, false));
  std::vector<Value> keys;
  for (const Value& name : names) {
    QUERN_TRY(key, get_path(call.interp, item, name));
    QUERN_TRY(folded, fold_case(call.interp, std::move(key), case_sensitive));
    keys.push_back(std::move(folded));
  }
  return make_sequence(call.heap(), Flavor::kTuple, std::move(keys));
}

Result<Value> filter_sort(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    QUERN_TRY(key, sort_key(call, item, call.flag(1, false)));
    keyed.push_back({std::move(key), std::move(item)});
  }
  // Its keys are lists to Python, which asks whether their items are equal before it orders them.
  QUERN_CHECK(sort_keyed(call.interp, keyed, call.flag(0, false), true));
  return make_sequence(call.heap(), Flavor::kList, items_of(std::move(keyed)),
                       call.self.from_user());
}

Result<Value> filter_unique(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  Map seen;
  std::vector<Value> kept;
  for (Value& item : items) {
    QUERN_TRY(key, key_of(call, item, 1, call.flag(0, false)));
    QUERN_CHECK(call.interp.spend_bytes(key.is_string() ? key.text().size() : 0));
    const std::size_t before = seen.size();
    QUERN_CHECK(seen.set(std::move(key), Value()));
    if (seen.size() > before) kept.push_back(std::move(item));
  }
  return make_iterator(call, std::move(kept));
}

template <bool kMax>
Result<Value> filter_extreme(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  if (items.empty()) return Value::undefined("no aggregated item, sequence was empty");
  QUERN_TRY(best_key, key_of(call, items[0], 1, call.flag(0, false)));
  std::size_t best = 0;
  for (std::size_t i = 1; i < items.size(); ++i) {
    QUERN_TRY(key, key_of(call, items[i], 1, call.flag(0, false)));
    QUERN_TRY(better, kMax ? less(call.interp, best_key, key) : less(call.interp, key, best_key));
    if (!better) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Result<Value> filter_sum(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  Value total = call.args[1].has_value() ? call[1] : Value(std::int64_t{0});
  if (total.is_string()) return language_error("sum() can't sum strings");
  for (const Value& item : items) {
    QUERN_TRY(part, call.has(0) ? get_path(call.interp, item, call[0]) : Result<Value>(item));
    QUERN_TRY(next, arithmetic(call.interp, Operator::kAdd, total, part));
    total = std::move(next);
  }
  return total;
}

Result<Value> filter_batch(Call& call) {
  QUERN_TRY(count, call.integer(0, 1));
  QUERN_TRY(items, iterate(call.interp, call.self));
  std::vector<Value> rows;
  std::vector<Value> row;
  for (Value& item : items) {
    if (static_cast<std::int64_t>(row.size()) == count) {
      QUERN_TRY(done, list_of(call.interp, std::move(row)));
      rows.push_back(std::move(done));
      row.clear();
    }
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    const auto missing = std::max<std::int64_t>(count - static_cast<std::int64_t>(row.size()), 0);
    if (call.has(1)) {
      QUERN_CHECK(call.interp.spend(static_cast<std::size_t>(missing)));
      row.insert(row.end(), static_cast<std::size_t>(missing), call[1]);
    }
    QUERN_TRY(done, list_of(call.interp, std::move(row)));
    rows.push_back(std::move(done));
  }
  return make_iterator(call, std::move(rows));
}

Result<Value> filter_slice(Call& call) {
  QUERN_TRY(slices, call.integer(0, 1));
  QUERN_TRY(items, iterate(call.interp, call.self));
  if (slices == 0) return language_error("division by zero");
  std::vector<Value> columns;
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(slices, 0));
  QUERN_CHECK(call.interp.spend(count));
  for (std::size_t i = 0, begin = 0; i < count; ++i) {
    const bool longer = i < items.size() % count;
    const std::size_t end = begin + items.size() / count + (longer ? 1 : 0);
    std::vector<Value> column(items.begin() + static_cast<std::ptrdiff_t>(begin),
                              items.begin() + static_cast<std::ptrdiff_t>(end));
    if (call.has(1) && !longer) column.push_back(call[1]);
    QUERN_TRY(done, list_of(call.interp, std::move(column)));
    columns.push_back(std::move(done));
    begin = end;
  }
  return make_iterator(call, std::move(columns));
}

/// One (grouper, list) of groupby; the grouper is that of the first item, with its own case.
Result<Value> make_group(Call& call, std::vector<Value> items, const Value* otherwise) {
  QUERN_TRY(grouper, get_path(call.interp, items[0], call[0], otherwise));
  QUERN_TRY(list, list_of(call.interp, std::move(items)));
  return make_sequence(call.heap(), Flavor::kGroup, {std::move(grouper), std::move(list)});
}

Result<Value> filter_groupby(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call.self));
  const Value* otherwise = call.has(1) ? &call[1] : nullptr;
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    QUERN_TRY(key, get_path(call.interp, item, call[0], otherwise));
    QUERN_TRY(folded, fold_case(call.interp, std::move(key), call.flag(2, false)));
    keyed.push_back({std::move(folded), std::move(item)});
  }
  QUERN_CHECK(sort_keyed(call.interp, keyed, false));
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < keyed.size();) {
    std::vector<Value> members;
    std::size_t end = begin;
    while (end < keyed.size()) {
      QUERN_TRY(same, equal(call.interp, keyed[begin].key, keyed[end].key));
      if (!same) break;
      members.push_back(std::move(keyed[end++].item));
    }
    if (end == begin) return language_error("'groupby' got keys that are not equal to themselves");
    QUERN_TRY(group, make_group(call, std::move(members), otherwise));
    groups.push_back(std::move(group));
    begin = end;
  }
  return list_of(call.interp, std::move(groups));
}

Result<Value> filter_default(Call& call) {
  if (!call.self.is_undefined() && !(call.flag(1, false) && !truthy(call.self))) return call.self;
  if (call.args[0].has_value()) return call[0];
  return make_string(call.heap(), "", true);
}

Result<Value> filter_attr(Call& call) {
  QUERN_TRY(name, call.string(0));
  return get_own_attribute(call.interp, call.self, name->bytes());
}

constexpr Builtin kFilters[] = {
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"first", "", filter_first},
    {"last", "", filter_last},
    {"list", "", filter_list},
    {"join", "d? attribute?", filter_join},
    {"reverse", "", filter_reverse},
    {"items", "", filter_items},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {"min", "case_sensitive? attribute?", filter_extreme<false>},
    {"max", "case_sensitive? attribute?", filter_extreme<true>},
    {"sum", "attribute? start?", filter_sum},
    {"batch", "linecount fill_with?", filter_batch},
    {"slice", "slices fill_with?", filter_slice},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"default", "default_value? boolean?", filter_default},
    {"d", "default_value? boolean?", filter_default},
    {"attr", "name", filter_attr},
};

}  // namespace

Table sequence_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace quern::text::jinja
