#include "text/jinja/access.h"

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/objects.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

/// Attributes that Python's types have and this interpreter lacks: errors rather than undefined.
bool is_missing_attribute(const Value& object, std::string_view name) {
  static constexpr std::string_view kText[] = {"encode",     "translate",    "maketrans",
                                               "format_map", "isidentifier", "casefold"};
  static constexpr std::string_view kInt[] = {
      "real",      "imag",      "numerator", "denominator", "bit_length",
      "bit_count", "conjugate", "to_bytes",  "from_bytes",  "as_integer_ratio"};
  static constexpr std::string_view kFloat[] = {"real", "imag",    "conjugate",       "is_integer",
                                                "hex",  "fromhex", "as_integer_ratio"};
  static constexpr std::string_view kView[] = {"mapping", "isdisjoint"};
  static constexpr std::string_view kIterator[] = {"send", "throw", "close"};
  const auto holds = [name](const auto& words) {
    return std::find(std::begin(words), std::end(words), name) != std::end(words);
  };
  if (object.is_string())
    return holds(kText) || (object.is_markup() && (name == "unescape" || name == "striptags"));
  if (object.is_integral()) return holds(kInt);
  if (object.is(Kind::kFloat)) return holds(kFloat);
  if (object.is_map()) return name == "fromkeys";
  if (!object.is_sequence()) return false;
  switch (object.sequence().flavor) {
    case Flavor::kRange:
      return name == "start" || name == "stop" || name == "step";
    case Flavor::kKeys:
    case Flavor::kValues:
    case Flavor::kItems:
      return holds(kView);
    case Flavor::kIterator:
      return holds(kIterator);
    default:
      return false;
  }
}

bool is_internal(std::string_view name) {
  return name.size() > 4 && name.substr(0, 2) == "__" && name.substr(name.size() - 2) == "__";
}

Value no_attribute(const Value& object, std::string_view name) {
  const std::string owner = object.is_none() ? "None" : "'" + object.type_name() + " object'";
  return Value::undefined(owner + " has no attribute '" + std::string(name) + "'");
}

/// The attribute, or nothing where Python's type has none of that name.
Result<std::optional<Value>> find_attribute(Interp& interp, const Value& object,
                                            std::string_view name) {
  using Found = std::optional<Value>;
  if (object.is_undefined()) return language_error(object.undefined_message());
  if (is_internal(name) || is_mutating_method(object, name)) {
    return Found(Value::undefined("access to attribute '" + std::string(name) + "' of '" +
                                  object.type_name() + "' object is unsafe"));
  }
  if (object.is_object()) {
    QUERN_TRY(value, object.object().attribute(interp, name));
    return Found(std::move(value));
  }
  if (object.is_sequence() && object.sequence().flavor == Flavor::kGroup) {
    if (name == "grouper") return Found(object.sequence().items[0]);
    if (name == "list") return Found(object.sequence().items[1]);
  }
  if (const Builtin* method = find_method(object, name); method != nullptr) {
    QUERN_TRY(bound, make_object<BoundMethod>(interp.heap(), object, *method));
    return Found(std::move(bound));
  }
  if (is_missing_attribute(object, name)) {
    return Error(ErrorCode::kUnsupported, "the attribute '" + std::string(name) + "' of '" +
                                              object.type_name() + "' is not supported");
  }
  return Found();
}

/// \return an index counted from the end if negative, or nothing if out of range.
std::optional<std::size_t> wrap_index(std::int64_t index, std::size_t size) {
  const auto signed_size = static_cast<std::int64_t>(size);
  if (index < 0) index += signed_size;
  if (index < 0 || index >= signed_size) return std::nullopt;
  return static_cast<std::size_t>(index);
}

/// The range that a slice of a range is.
Result<Value> slice_range(Interp& interp, const std::int64_t (&range)[3], std::int64_t start,
                          std::int64_t stop, std::int64_t step) {
  std::int64_t bounds[2] = {start, stop};
  bool overflow = false;
  for (std::int64_t& bound : bounds) {
    overflow |= __builtin_mul_overflow(bound, range[2], &bound);
    overflow |= __builtin_add_overflow(bound, range[0], &bound);
  }
  overflow |= __builtin_mul_overflow(step, range[2], &step);
  if (overflow) return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits");
  return make_range(interp.heap(), bounds[0], bounds[1], step);
}

}  // namespace

Result<Value> get_own_attribute(Interp& interp, const Value& object, std::string_view name) {
  QUERN_TRY(found, find_attribute(interp, object, name));
  return found.has_value() ? *found : no_attribute(object, name);
}

Result<Value> get_attribute(Interp& interp, const Value& object, std::string_view name) {
  QUERN_TRY(found, find_attribute(interp, object, name));
  if (found.has_value()) return std::move(*found);
  if (object.is_map()) {
    if (const Value* value = object.map().find(name); value != nullptr) return *value;
  }
  return no_attribute(object, name);
}

Result<Value> get_item(Interp& interp, const Value& object, const Value& key) {
  if (object.is_undefined()) return language_error(object.undefined_message());
  if (key.is_string()) {
    QUERN_CHECK(interp.spend_bytes(key.text().size()));
    if (object.is_map()) {
      if (const Value* value = object.map().find(key.str()); value != nullptr) return *value;
    }
    return get_own_attribute(interp, object, key.str());
  }
  if (object.is_map()) {
    const auto found = object.map().find(key);
    if (found.ok() && *found != nullptr) return **found;
  } else if (key.is_integral() && object.is_string()) {
    const auto index = wrap_index(key.as_int(), object.text().length());
    if (index.has_value()) return substring(interp, object, *index, *index + 1);
  } else if (key.is_integral() && object.is_sequence() && object.sequence().is_indexable()) {
    const auto& items = object.sequence().items;
    const auto index = wrap_index(key.as_int(), items.size());
    if (index.has_value()) return items[*index];
  }
  return Value::undefined("'" + object.type_name() + " object' has no such element");
}

Result<Value> byte_range(Interp& interp, const Value& text, std::size_t begin, std::size_t end) {
  if (begin == 0 && end == text.text().size()) return text;
  QUERN_CHECK(interp.spend_bytes(end - begin));
  TextBuilder out(interp.heap());
  out.append(text.text(), begin, end);
  QUERN_TRY(part, make_string(out));
  return std::move(part).mark_markup(text.is_markup());
}

Result<Value> substring(Interp& interp, const Value& text, std::size_t begin, std::size_t end) {
  const Text& whole = text.text();
  if (whole.length() != whole.size()) QUERN_CHECK(interp.spend_bytes(whole.size()));
  return byte_range(interp, text, whole.offset_of(begin), whole.offset_of(end));
}

Result<Value> get_slice(Interp& interp, const Value& object, const SliceBounds& bounds) {
  if (object.is_undefined()) return language_error(object.undefined_message());
  const bool text = object.is_string();
  if (!text && !(object.is_sequence() && object.sequence().is_indexable())) {
    return language_error("a '" + object.type_name() + "' cannot be sliced");
  }
  const std::int64_t step = bounds.step.value_or(1);
  if (step == 0) return language_error("slice step cannot be zero");
  const auto size =
      static_cast<std::int64_t>(text ? object.text().length() : object.sequence().items.size());
  const auto clamp = [size, step](std::optional<std::int64_t> bound, std::int64_t otherwise) {
    if (!bound.has_value()) return otherwise;
    const std::int64_t low = step > 0 ? 0 : -1;
    const std::int64_t high = step > 0 ? size : size - 1;
    return std::clamp(*bound < 0 ? *bound + size : *bound, low, high);
  };
  const std::int64_t start = clamp(bounds.start, step > 0 ? 0 : size - 1);
  const std::int64_t stop = clamp(bounds.stop, step > 0 ? size : -1);
  if (text && step == 1) {
    return substring(interp, object, static_cast<std::size_t>(start),
                     static_cast<std::size_t>(std::max(start, stop)));
  }
  std::vector<std::size_t> picked;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    picked.push_back(static_cast<std::size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (text) {
    QUERN_CHECK(interp.spend_bytes(object.text().size() * sizeof(std::size_t)));
    const Text& whole = object.text();
    std::vector<std::size_t> offsets;
    offsets.reserve(whole.length() + 1);
    for (std::size_t at = 0; at < whole.size(); at += sequence_length(whole.bytes(), at))
      offsets.push_back(at);
    offsets.push_back(whole.size());
    TextBuilder out(interp.heap());
    for (const std::size_t i : picked) out.append(whole, offsets[i], offsets[i + 1]);
    QUERN_TRY(part, make_string(out));
    return std::move(part).mark_markup(object.is_markup());
  }
  QUERN_CHECK(interp.spend(picked.size()));
  const Sequence& sequence = object.sequence();
  if (sequence.flavor == Flavor::kRange) {
    return slice_range(interp, sequence.range, start, stop, step);
  }
  std::vector<Value> items;
  items.reserve(picked.size());
  for (const std::size_t i : picked) items.push_back(sequence.items[i]);
  return make_sequence(interp.heap(), sequence.is_tuple() ? Flavor::kTuple : Flavor::kList,
                       std::move(items), object.from_user());
}

Result<std::vector<Value>> iterate(Interp& interp, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_string()) {
    const Text& text = value.text();
    QUERN_CHECK(interp.spend(text.length()));
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = at + sequence_length(text.bytes(), at);
      QUERN_TRY(character, byte_range(interp, value, at, end));
      items.push_back(std::move(character).mark_markup(false));  // As Python's own iterator.
      at = end;
    }
    return items;
  }
  if (value.is_sequence()) {
    const Sequence& sequence = value.sequence();
    QUERN_CHECK(interp.spend(sequence.items.size() - sequence.cursor));
    items.assign(sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.cursor),
                 sequence.items.end());
    if (sequence.is_iterator()) sequence.cursor = sequence.items.size();
    return items;
  }
  if (value.is_map()) {
    QUERN_CHECK(interp.spend(value.map().size()));
    for (const auto& entry : value.map().entries()) items.push_back(entry.first);
    return items;
  }
  return language_error("'" + value.type_name() + "' object is not iterable");
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() || value.is_map();
}

Result<std::int64_t> length_of(const Value& value) {
  if (value.is_undefined()) return std::int64_t{0};
  if (value.is_string()) return static_cast<std::int64_t>(value.text().length());
  if (value.is_map()) return static_cast<std::int64_t>(value.map().size());
  if (value.is_sequence() && !value.sequence().is_iterator()) {
    return static_cast<std::int64_t>(value.sequence().items.size());
  }
  return language_error("object of type '" + value.type_name() + "' has no len()");
}

Result<Value> get_path(Interp& interp, const Value& object, const Value& path,
                       const Value* otherwise) {
  if (path.is_none()) return object;
  Value item = object;
  const auto step = [&](const Value& part) -> Status {
    QUERN_CHECK(interp.spend(1));
    QUERN_TRY(next, get_item(interp, item, part));
    item = next.is_undefined() && otherwise != nullptr && !otherwise->is_none() ? *otherwise
                                                                                : std::move(next);
    return {};
  };
  if (!path.is_string()) {
    QUERN_CHECK(step(path));
    return item;
  }
  const std::string& text = path.str();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    const bool digits = !part.empty() && part.size() < 19 &&
                        part.find_first_not_of("0123456789") == std::string_view::npos;
    if (digits) {
      QUERN_CHECK(step(Value(static_cast<std::int64_t>(std::stoll(std::string(part))))));
    } else {
      QUERN_TRY(name, make_string(interp.heap(), part, path.text().trusted()));
      QUERN_CHECK(step(name));
    }
    begin = end + 1;
  }
  return item;
}

}  // namespace quern::text::jinja
