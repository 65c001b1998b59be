/// \file
/// The values of the template language: Python's, as far as a chat template can see them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "quern/result.h"
#include "text/jinja/heap.h"
#include "text/jinja/text.h"

namespace quern::text::jinja {

class Interp;
class Map;
class Object;
struct Sequence;

using SequenceRef = std::shared_ptr<const Sequence>;
using MapRef = std::shared_ptr<const Map>;
using ObjectRef = std::shared_ptr<Object>;

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kSequence,
  kMap,
  kObject,
};

/// One value. Containers are immutable and shared; only Objects (namespace, cycler, …) change.
class Value {
 public:
  struct None {};
  /// The message that using an undefined value raises.
  using Undefined = std::shared_ptr<const std::string>;

  Value() : data_(Undefined{}) {}
  Value(None) : data_(None{}) {}  // NOLINT
  explicit Value(bool b) : data_(b) {}
  explicit Value(std::int64_t i) : data_(i) {}
  explicit Value(double f) : data_(f) {}
  explicit Value(TextRef text) : data_(std::move(text)) {}
  explicit Value(SequenceRef sequence) : data_(std::move(sequence)) {}
  explicit Value(MapRef map) : data_(std::move(map)) {}
  explicit Value(ObjectRef object) : data_(std::move(object)) {}
  static Value none() { return Value(None{}); }
  static Value undefined(std::string message) {
    Value value;
    value.data_ = std::make_shared<const std::string>(std::move(message));
    return value;
  }

  Kind kind() const noexcept { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const noexcept { return kind() == k; }
  bool is_undefined() const noexcept { return is(Kind::kUndefined); }
  bool is_none() const noexcept { return is(Kind::kNone); }
  bool is_string() const noexcept { return is(Kind::kString); }
  bool is_sequence() const noexcept { return is(Kind::kSequence); }
  bool is_map() const noexcept { return is(Kind::kMap); }
  bool is_object() const noexcept { return is(Kind::kObject); }
  /// \return whether Python's int() protocol holds it: int or bool.
  bool is_integral() const noexcept { return is(Kind::kInt) || is(Kind::kBool); }
  bool is_number() const noexcept { return is_integral() || is(Kind::kFloat); }

  bool as_bool() const noexcept { return *std::get_if<bool>(&data_); }
  /// \pre is_integral()
  std::int64_t as_int() const noexcept {
    return is(Kind::kBool) ? (as_bool() ? 1 : 0) : *std::get_if<std::int64_t>(&data_);
  }
  /// \pre is_number()
  double as_double() const noexcept {
    return is(Kind::kFloat) ? *std::get_if<double>(&data_) : static_cast<double>(as_int());
  }
  const Text& text() const noexcept { return **std::get_if<TextRef>(&data_); }
  const TextRef& text_ref() const noexcept { return *std::get_if<TextRef>(&data_); }
  const std::string& str() const noexcept { return text().bytes(); }
  const Sequence& sequence() const noexcept { return **std::get_if<SequenceRef>(&data_); }
  const Map& map() const noexcept { return **std::get_if<MapRef>(&data_); }
  Object& object() const noexcept { return **std::get_if<ObjectRef>(&data_); }
  const ObjectRef& object_ref() const noexcept { return *std::get_if<ObjectRef>(&data_); }
  /// \return the message of an undefined value.
  std::string undefined_message() const;
  /// \return whether both are the same object (Python's `is`).
  bool same_as(const Value& other) const noexcept;

  /// Provenance of what is no string: numbers and the punctuation of printed containers.
  bool from_user() const noexcept { return user_; }
  Value&& mark_user(bool user) && {
    user_ = user;
    return std::move(*this);
  }
  /// Whether a string was marked safe (markupsafe's Markup).
  bool is_markup() const noexcept { return markup_; }
  Value&& mark_markup(bool markup) && {
    markup_ = markup;
    return std::move(*this);
  }
  Value as_markup(bool markup) const {
    Value copy = *this;
    copy.markup_ = markup;
    return copy;
  }

  /// \return nesting of containers below this value: 0 for a scalar.
  int depth() const noexcept;
  /// \return Python's name of the type, for messages and printing.
  std::string type_name() const;

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, TextRef, SequenceRef, MapRef, ObjectRef>
      data_;
  bool user_ = false;
  bool markup_ = false;
};

/// Containers nest at most so deep: everything that walks values recurses no deeper.
inline constexpr int kMaxValueDepth = 96;

inline constexpr std::size_t kMaxTupleKey = 64;

/// What Python type a sequence plays.
enum class Flavor : std::uint8_t {
  kList,
  kTuple,
  kGroup,  ///< kGroup: the (grouper, list) tuple of `groupby`.
  kRange,
  kKeys,
  kValues,
  kItems,
  kIterator,  ///< A generator: can be walked once, has no length.
};

struct Sequence {
  Flavor flavor = Flavor::kList;
  int depth = 1;
  std::vector<Value> items;
  std::int64_t range[3] = {0, 0, 1};  ///< start, stop, step of a kRange.
  /// What an iterator has yielded. The one mutable part: iterators never leave their render.
  mutable std::size_t cursor = 0;
  Charge charge;

  bool is_iterator() const noexcept { return flavor == Flavor::kIterator; }
  bool is_tuple() const noexcept { return flavor == Flavor::kTuple || flavor == Flavor::kGroup; }
  /// \return whether it can be subscripted.
  bool is_indexable() const noexcept {
    return is_tuple() || flavor == Flavor::kList || flavor == Flavor::kRange;
  }
};

/// A dictionary in insertion order. Filled once by its builder, then immutable.
class Map {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const noexcept { return entries_; }
  std::size_t size() const noexcept { return entries_.size(); }
  int depth() const noexcept { return depth_; }
  /// \return the value of a string key, or nullptr.
  const Value* find(std::string_view key) const;
  /// \return the value of a key, nullptr if absent, or an error for an unhashable key.
  Result<const Value*> find(const Value& key) const;
  /// Inserts or replaces.
  Status set(Value key, Value value);

 private:
  friend Result<Value> make_map(Heap& heap, Map map, bool user);
  /// \return the place of the key in entries(), or size().
  std::size_t place_of(std::size_t hash, const Value& key) const;

  std::vector<Entry> entries_;
  std::unordered_multimap<std::size_t, std::size_t> index_;
  int depth_ = 1;
  Charge charge_;
};

/// Arguments of a call.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// A callable or stateful value: macro, bound method, namespace, loop, cycler, joiner, function.
class Object : public std::enable_shared_from_this<Object> {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual bool callable() const { return false; }
  /// \return nesting of containers that this object holds on to.
  virtual int depth() const { return 0; }
  virtual Result<Value> call(Interp& interp, const Args& args);
  /// \return the attribute, or an undefined value.
  virtual Result<Value> attribute(Interp& interp, std::string_view name);
  /// What `str()` shows; objects whose Python form shows an address are kUnsupported.
  virtual Result<Value> print(Interp& interp);

 private:
  template <class T, class... Parts>
  friend Result<Value> make_object(Heap& heap, Parts&&... parts);
  Charge charge_;
};

/// \return the error of values nested beyond kMaxValueDepth.
Error too_deep();

/// Makes values within a budget; kLimit where it or kMaxValueDepth is exceeded.
Result<Value> make_sequence(Heap& heap, Flavor flavor, std::vector<Value> items, bool user = false);
Result<Value> make_range(Heap& heap, std::int64_t start, std::int64_t stop, std::int64_t step);
Result<Value> make_map(Heap& heap, Map map, bool user = false);
/// An object of class T. Its constructor takes `parts`.
template <class T, class... Parts>
Result<Value> make_object(Heap& heap, Parts&&... parts) {
  if (!heap.charge(sizeof(T))) return heap.exhausted();
  Charge charge(&heap, sizeof(T));
  auto object = std::make_shared<T>(std::forward<Parts>(parts)...);
  if (object->depth() > kMaxValueDepth) return too_deep();
  object->charge_ = std::move(charge);
  return Value(ObjectRef(std::move(object)));
}
/// A string of one provenance.
Result<Value> make_string(Heap& heap, std::string_view bytes, bool trusted);
Result<Value> make_string(TextBuilder& builder);

/// \return Python's truth of a value.
bool truthy(const Value& value) noexcept;
/// \return a hash under which equal keys are equal; an error for lists and mappings. Tuples as keys
/// hold at most kMaxTupleKey scalars (kUnsupported otherwise), which bounds the cost of a key.
Result<std::size_t> hash_of(const Value& value);
/// Equality of hashable values (numbers, strings, none, tuples); others by identity.
bool equal_keys(const Value& a, const Value& b) noexcept;

/// \return an error of the language itself: a wrong type, a bad argument (kInvalidArgument).
Error language_error(std::string message);

}  // namespace quern::text::jinja
