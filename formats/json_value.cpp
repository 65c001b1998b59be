#include "formats/json_value.h"

#include <algorithm>

namespace quern::formats {
namespace {

const Json kNullJson;
const std::string kNoText;

bool is_pair(const Json& value) {
  return value.is_array() && value.size() == 2 && value[0].is_string();
}

}  // namespace

Json::Object::Object() = default;
Json::Object::Object(const Object& other) = default;
Json::Object::Object(Object&& other) noexcept = default;
Json::Object& Json::Object::operator=(const Object& other) = default;
Json::Object& Json::Object::operator=(Object&& other) noexcept = default;
Json::Object::~Object() = default;

Json::Json(std::nullptr_t) {}
Json::Json(bool negative, std::uint64_t bits) {
  if (negative)
    value_ = static_cast<std::int64_t>(bits);
  else
    value_ = bits;
}
Json::Json(double value) : value_(value) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}

Json::Json(std::initializer_list<Json> values) {
  if (values.size() == 0 || !std::all_of(values.begin(), values.end(), is_pair)) {
    value_ = Array(values);
    return;
  }
  for (const Json& pair : values) (*this)[pair[0].string()] = pair[1];
}

Json Json::array(std::initializer_list<Json> values) {
  Json json;
  json.value_ = Array(values);
  return json;
}

Json Json::object() {
  Json json;
  json.value_ = Object();
  return json;
}

const char* Json::type_name() const noexcept {
  static constexpr const char* kNames[] = {"null",   "boolean", "number", "number",
                                           "number", "string",  "array",  "object"};
  return kNames[value_.index()];
}

bool Json::boolean() const noexcept {
  const auto* value = std::get_if<bool>(&value_);
  return value != nullptr && *value;
}

double Json::number() const noexcept {
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*value);
  return static_cast<double>(integer());
}

std::int64_t Json::integer() const noexcept {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
  const auto* value = std::get_if<std::uint64_t>(&value_);
  return value == nullptr ? 0 : static_cast<std::int64_t>(*value);
}

const std::string& Json::string() const noexcept {
  const auto* value = std::get_if<std::string>(&value_);
  return value == nullptr ? kNoText : *value;
}

std::size_t Json::size() const noexcept { return elements().size() + items().size(); }

std::span<const Json> Json::elements() const noexcept {
  const auto* value = std::get_if<Array>(&value_);
  return value == nullptr ? std::span<const Json>() : std::span<const Json>(*value);
}

std::span<Json> Json::elements() noexcept {
  auto* value = std::get_if<Array>(&value_);
  return value == nullptr ? std::span<Json>() : std::span<Json>(*value);
}

const Json& Json::operator[](std::size_t index) const noexcept {
  const auto all = elements();
  return index < all.size() ? all[index] : kNullJson;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array();
  if (auto* array = std::get_if<Array>(&value_)) array->push_back(std::move(value));
}

std::span<const JsonMember> Json::items() const noexcept {
  const auto* value = std::get_if<Object>(&value_);
  return value == nullptr ? std::span<const JsonMember>() : std::span<const JsonMember>(*value);
}

std::span<JsonMember> Json::items() noexcept {
  auto* value = std::get_if<Object>(&value_);
  return value == nullptr ? std::span<JsonMember>() : std::span<JsonMember>(*value);
}

const Json* Json::find(std::string_view key) const noexcept {
  for (const JsonMember& member : items())
    if (member.key == key) return &member.value;
  return nullptr;
}

Json* Json::find(std::string_view key) noexcept {
  return const_cast<Json*>(std::as_const(*this).find(key));
}

const Json& Json::operator[](std::string_view key) const noexcept {
  const Json* found = find(key);
  return found == nullptr ? kNullJson : *found;
}

Json& Json::operator[](std::string_view key) {
  Json* found = find(key);
  return found == nullptr ? append(std::string(key), Json()) : *found;
}

Json& Json::append(std::string key, Json value) {
  if (!is_object()) value_ = Object();
  Object& members = std::get<Object>(value_);
  members.push_back({std::move(key), std::move(value)});
  return members.back().value;
}

void Json::erase(std::string_view key) {
  if (auto* members = std::get_if<Object>(&value_))
    std::erase_if(*members, [&](const JsonMember& member) { return member.key == key; });
}

bool operator==(const Json& a, const Json& b) { return a.value_ == b.value_; }

}  // namespace quern::formats
