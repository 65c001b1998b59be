#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace quern::text::jinja {
namespace {

/// Below this size a mapping is searched from front to back.
constexpr std::size_t kLinearKeys = 8;

std::size_t mix(std::size_t seed, std::size_t hash) noexcept {
  return seed ^ (hash + 0x9E3779B97F4A7C15ull + (seed << 6) + (seed >> 2));
}

}  // namespace

Error too_deep() {
  return Error(ErrorCode::kLimit, "values are nested too deeply")
      .want("at most " + std::to_string(kMaxValueDepth) + " levels");
}

Error language_error(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

std::string Value::undefined_message() const {
  const auto* message = std::get_if<Undefined>(&data_);
  return message != nullptr && *message != nullptr ? **message : "the value is undefined";
}

bool Value::same_as(const Value& other) const noexcept {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return as_bool() == other.as_bool();
    case Kind::kInt:
      return as_int() == other.as_int();
    case Kind::kFloat:
      return as_double() == other.as_double();
    case Kind::kString:
      return text_ref() == other.text_ref() || str() == other.str();
    case Kind::kSequence:
      return &sequence() == &other.sequence();
    case Kind::kMap:
      return &map() == &other.map();
    case Kind::kObject:
      return &object() == &other.object();
  }
  return false;
}

int Value::depth() const noexcept {
  if (is_sequence()) return sequence().depth;
  if (is_map()) return map().depth();
  return is_object() ? object().depth() : 0;
}

std::string Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return markup_ ? "Markup" : "str";
    case Kind::kMap:
      return "dict";
    case Kind::kObject:
      return object().type_name();
    case Kind::kSequence:
      break;
  }
  switch (sequence().flavor) {
    case Flavor::kList:
      return "list";
    case Flavor::kTuple:
    case Flavor::kGroup:
      return "tuple";
    case Flavor::kRange:
      return "range";
    case Flavor::kKeys:
      return "dict_keys";
    case Flavor::kValues:
      return "dict_values";
    case Flavor::kItems:
      return "dict_items";
    case Flavor::kIterator:
      break;
  }
  return "generator";
}

Result<Value> Object::call(Interp&, const Args&) {
  return language_error("'" + type_name() + "' object is not callable");
}

Result<Value> Object::attribute(Interp&, std::string_view name) {
  return Value::undefined("'" + type_name() + "' object has no attribute '" + std::string(name) +
                          "'");
}

Result<Value> Object::print(Interp&) {
  return Error(ErrorCode::kUnsupported, "a '" + type_name() + "' object cannot be printed");
}

std::size_t Map::place_of(std::size_t hash, const Value& key) const {
  if (index_.empty()) {
    std::size_t at = 0;
    while (at < entries_.size() && !equal_keys(entries_[at].first, key)) ++at;
    return at;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (equal_keys(entries_[it->second].first, key)) return it->second;
  }
  return entries_.size();
}

const Value* Map::find(std::string_view key) const {
  if (index_.empty()) {
    for (const Entry& entry : entries_) {
      if (entry.first.is_string() && entry.first.str() == key) return &entry.second;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = begin; it != end; ++it) {
    const Entry& entry = entries_[it->second];
    if (entry.first.is_string() && entry.first.str() == key) return &entry.second;
  }
  return nullptr;
}

Result<const Value*> Map::find(const Value& key) const {
  QUERN_TRY(hash, hash_of(key));
  const std::size_t at = place_of(hash, key);
  return at < entries_.size() ? &entries_[at].second : nullptr;
}

Status Map::set(Value key, Value value) {
  QUERN_TRY(hash, hash_of(key));
  depth_ = std::max({depth_, 1 + key.depth(), 1 + value.depth()});
  const std::size_t at = place_of(hash, key);
  if (at < entries_.size()) {
    entries_[at].second = std::move(value);
    return {};
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() == kLinearKeys + 1) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      QUERN_TRY(each, hash_of(entries_[i].first));
      index_.emplace(each, i);
    }
  } else if (entries_.size() > kLinearKeys) {
    index_.emplace(hash, entries_.size() - 1);
  }
  return {};
}

Result<Value> make_sequence(Heap& heap, Flavor flavor, std::vector<Value> items, bool user) {
  const std::size_t bytes = sizeof(Sequence) + items.size() * sizeof(Value);
  if (!heap.charge(bytes)) return heap.exhausted();
  auto sequence = std::make_shared<Sequence>(
      Sequence{flavor, 1, std::move(items), {0, 0, 1}, 0, Charge(&heap, bytes)});
  for (const Value& item : sequence->items) {
    sequence->depth = std::max(sequence->depth, 1 + item.depth());
  }
  if (sequence->depth > kMaxValueDepth) return too_deep();
  return Value(SequenceRef(std::move(sequence))).mark_user(user);
}

Result<Value> make_range(Heap& heap, std::int64_t start, std::int64_t stop, std::int64_t step) {
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  const std::size_t bytes = sizeof(Sequence) + items.size() * sizeof(Value);
  if (!heap.charge(bytes)) return heap.exhausted();
  return Value(SequenceRef(std::make_shared<Sequence>(Sequence{
      Flavor::kRange, 1, std::move(items), {start, stop, step}, 0, Charge(&heap, bytes)})));
}

Result<Value> make_map(Heap& heap, Map map, bool user) {
  const std::size_t per_entry = sizeof(Map::Entry) + (map.index_.empty() ? 0 : 48);
  const std::size_t bytes = sizeof(Map) + map.entries_.size() * per_entry;
  if (map.depth_ > kMaxValueDepth) return too_deep();
  if (!heap.charge(bytes)) return heap.exhausted();
  map.charge_ = Charge(&heap, bytes);
  return Value(MapRef(std::make_shared<const Map>(std::move(map)))).mark_user(user);
}

Result<Value> make_string(Heap& heap, std::string_view bytes, bool trusted) {
  TextBuilder builder(heap);
  builder.append(bytes, trusted);
  return make_string(builder);
}

Result<Value> make_string(TextBuilder& builder) {
  QUERN_TRY(text, builder.finish());
  return Value(std::move(text));
}

bool truthy(const Value& value) noexcept {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.as_bool();
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_double() != 0.0;
    case Kind::kString:
      return value.text().size() != 0;
    case Kind::kSequence:
      return value.sequence().is_iterator() || !value.sequence().items.empty();
    case Kind::kMap:
      return value.map().size() != 0;
    case Kind::kObject:
      break;
  }
  return true;
}

Result<std::size_t> hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return std::size_t{1};
    case Kind::kNone:
      return std::size_t{2};
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<double>{}(static_cast<double>(value.as_int()));
    case Kind::kFloat:
      return std::hash<double>{}(value.as_double());
    case Kind::kString:
      return std::hash<std::string_view>{}(value.str());
    case Kind::kObject:
      return std::hash<const void*>{}(&value.object());
    case Kind::kMap:
      break;
    case Kind::kSequence:
      if (value.sequence().flavor == Flavor::kList) break;
      if (!value.sequence().is_tuple()) return std::hash<const void*>{}(&value.sequence());
      if (value.depth() > 1 || value.sequence().items.size() > kMaxTupleKey) {
        return Error(ErrorCode::kUnsupported, "a large or nested tuple as the key of a mapping");
      }
      std::size_t seed = 3;
      for (const Value& item : value.sequence().items) {
        QUERN_TRY(hash, hash_of(item));
        seed = mix(seed, hash);
      }
      return seed;
  }
  return language_error("unhashable type: '" + value.type_name() + "'");
}

bool equal_keys(const Value& a, const Value& b) noexcept {
  if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
  if (a.is_number() && b.is_number()) return a.as_double() == b.as_double();
  if (a.is_sequence() && b.is_sequence() && a.sequence().is_tuple() && b.sequence().is_tuple()) {
    const auto& x = a.sequence().items;
    const auto& y = b.sequence().items;
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal_keys);
  }
  return a.same_as(b);
}

}  // namespace quern::text::jinja
