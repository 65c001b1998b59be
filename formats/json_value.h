/// \file
/// One JSON value as a tree that owns its parts. Destroying one never allocates, so that running
/// out of memory inside a document is an error like any other (the tree of nlohmann-json 3.11
/// allocates in its destructor, where nothing can be reported any more).
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace quern::formats {

struct JsonMember;

/// Value type; copies are deep. Keys stand in the order in which they were added, because templates
/// and configurations show them so. Copying, comparing and destroying recurse as deep as the value
/// nests: `parse_json` bounds that, and code only builds flat ones. Thread rule: as std::vector.
class Json {
 public:
  /// The order of the variant below.
  enum class Type : std::uint8_t {
    kNull,
    kBoolean,
    kNegative,  ///< An integer below 0.
    kUnsigned,  ///< An integer from 0.
    kFloat,
    kString,
    kArray,
    kObject
  };
  Json() = default;
  Json(std::nullptr_t);
  Json(std::same_as<bool> auto value) : value_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Json(T value)
      : Json(std::cmp_less(value, 0), static_cast<std::uint64_t>(value)) {}
  Json(double value);
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  template <class T>
  Json(const std::vector<T>& values) : Json(std::initializer_list<Json>{}) {
    for (const T& value : values) push_back(value);
  }
  /// Pairs whose first is a string make an object, anything else an array.
  Json(std::initializer_list<Json> values);
  static Json array(std::initializer_list<Json> values = {});
  static Json object();

  Type type() const noexcept { return static_cast<Type>(value_.index()); }
  const char* type_name() const noexcept;
  bool is_null() const noexcept { return type() == Type::kNull; }
  bool is_boolean() const noexcept { return type() == Type::kBoolean; }
  bool is_integer() const noexcept { return type() == Type::kNegative || is_unsigned(); }
  bool is_unsigned() const noexcept { return type() == Type::kUnsigned; }
  bool is_number() const noexcept { return is_integer() || type() == Type::kFloat; }
  bool is_string() const noexcept { return type() == Type::kString; }
  bool is_array() const noexcept { return type() == Type::kArray; }
  bool is_object() const noexcept { return type() == Type::kObject; }
  bool is_scalar() const noexcept { return !is_array() && !is_object(); }

  // What a value of the right type holds; of another type: false, 0, empty.
  bool boolean() const noexcept;
  double number() const noexcept;         ///< Any number, rounded where it has to be.
  std::int64_t integer() const noexcept;  ///< An integer, modulo 2^64.
  std::uint64_t unsigned_integer() const noexcept { return static_cast<std::uint64_t>(integer()); }
  const std::string& string() const noexcept;

  /// Number of elements or members; 0 for a scalar.
  std::size_t size() const noexcept;
  bool empty() const noexcept { return size() == 0; }

  /// Elements of an array; nothing for other types.
  std::span<const Json> elements() const noexcept;
  std::span<Json> elements() noexcept;
  const Json* begin() const noexcept { return elements().data(); }
  const Json* end() const noexcept { return begin() + elements().size(); }
  /// An element, or null where there is none.
  const Json& operator[](std::size_t index) const noexcept;
  /// Appends; a null becomes an array first. Of other types nothing changes.
  void push_back(Json value);

  /// Members of an object; nothing for other types. The keys must stay as they are.
  std::span<const JsonMember> items() const noexcept;
  std::span<JsonMember> items() noexcept;
  /// \return nullptr where there is no such member. Linear in the number of members.
  const Json* find(std::string_view key) const noexcept;
  Json* find(std::string_view key) noexcept;
  bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
  /// A member, or null where there is none.
  const Json& operator[](std::string_view key) const noexcept;
  /// A member, added as null where there is none. A value of another type becomes an object first.
  Json& operator[](std::string_view key);
  /// Appends a member whose key is known to be new. A value of another type becomes an object
  /// first.
  Json& append(std::string key, Json value);
  void erase(std::string_view key);

  friend bool operator==(const Json& a, const Json& b);

 private:
  /// An integer: whether it lies below 0, and its bits.
  Json(bool negative, std::uint64_t bits);

  using Array = std::vector<Json>;
  /// A type of its own, as ConfigList is (quern/config.h).
  struct Object : std::vector<JsonMember> {
    Object();  // All in the source file, where members are known.
    Object(const Object& other);
    Object(Object&& other) noexcept;
    Object& operator=(const Object& other);
    Object& operator=(Object&& other) noexcept;
    ~Object();
  };

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array,
               Object>
      value_;
};

struct JsonMember {
  std::string key;
  Json value;
  friend bool operator==(const JsonMember&, const JsonMember&) = default;
};

/// Serialises as RFC 8259 text: on one line, or with `indent` spaces for each level. Floats are the
/// shortest text that reads back as the same value, infinities and NaN become null, and bytes that
/// are no UTF-8 become U+FFFD.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace quern::formats
