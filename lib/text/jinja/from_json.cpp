#include "text/jinja/from_json.h"

#include <limits>

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
  for (auto it = json.begin(); it != json.end(); ++it) {
    QUERN_TRY(key, make_string(heap, it.key(), /*trusted=*/false));
    QUERN_TRY(value, from_json(heap, it.value(), depth + 1));
    QUERN_CHECK(map.set(std::move(key), std::move(value)));
  }
  return make_map(heap, std::move(map), /*user=*/true);
}

}  // namespace

Result<Value> from_json(Heap& heap, const formats::Json& json, int depth) {
  using Type = formats::Json::value_t;
  if (depth > kMaxJsonDepth) return too_deep();
  switch (json.type()) {
    case Type::null:
      return Value::none().mark_user(true);
    case Type::boolean:
      return Value(json.get<bool>()).mark_user(true);
    case Type::number_integer:
      return Value(json.get<std::int64_t>()).mark_user(true);
    case Type::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits")
            .got(std::to_string(number));
      }
      return Value(static_cast<std::int64_t>(number)).mark_user(true);
    }
    case Type::number_float:
      return Value(json.get<double>()).mark_user(true);
    case Type::string:
      return make_string(heap, json.get_ref<const std::string&>(), /*trusted=*/false);
    case Type::array:
      return from_array(heap, json, depth);
    case Type::object:
      return from_object(heap, json, depth);
    case Type::binary:
    case Type::discarded:
      break;
  }
  return Error(ErrorCode::kInvalidArgument, "a variable of the template is no JSON value");
}

}  // namespace quern::text::jinja
