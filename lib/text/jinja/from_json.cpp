#include "text/jinja/from_json.h"

namespace quern::text::jinja {
namespace {

/// Values of the caller nest less deeply than those of a template, which builds around them.
constexpr int kMaxJsonDepth = 80;

Result<Value> from_array(Heap& heap, const formats::Json& json, int depth) {
  std::vector<Value> items;
  items.reserve(json.size());
  for (const auto& element : json) {
    QUERN_TRY(item, from_json(heap, element, depth + 1));
    items.push_back(std::move(item));
  }
  return make_sequence(heap, Flavor::kList, std::move(items), /*user=*/true);
}

Result<Value> from_object(Heap& heap, const formats::Json& json, int depth) {
  Map map;
  for (const auto& [name, member] : json.items()) {
    QUERN_TRY(key, make_string(heap, name, /*trusted=*/false));
    QUERN_TRY(value, from_json(heap, member, depth + 1));
    QUERN_CHECK(map.set(std::move(key), std::move(value)));
  }
  return make_map(heap, std::move(map), /*user=*/true);
}

}  // namespace

Result<Value> from_json(Heap& heap, const formats::Json& json, int depth) {
  using Type = formats::Json::Type;
  if (depth > kMaxJsonDepth) return too_deep();
  switch (json.type()) {
    case Type::kNull:
      return Value::none().mark_user(true);
    case Type::kBoolean:
      return Value(json.boolean()).mark_user(true);
    case Type::kUnsigned:
      if (json.integer() < 0)
        return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits")
            .got(std::to_string(json.unsigned_integer()));
      return Value(json.integer()).mark_user(true);
    case Type::kNegative:
      return Value(json.integer()).mark_user(true);
    case Type::kFloat:
      return Value(json.number()).mark_user(true);
    case Type::kString:
      return make_string(heap, json.string(), /*trusted=*/false);
    case Type::kArray:
      return from_array(heap, json, depth);
    case Type::kObject:
      return from_object(heap, json, depth);
  }
  return Error(ErrorCode::kInternal, "a JSON value is of no type");
}

}  // namespace quern::text::jinja
