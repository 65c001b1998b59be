#include "formats/json.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/mapped_file.h"

namespace quern::formats {
namespace {

/// nlohmann-json is the parser alone; its tree is not used (see json_value.h).
using Parser = nlohmann::json;

/// A character iterator that shows its position to others: nlohmann's SAX events carry none.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** seen) noexcept : at_(at), seen_(seen) {}
  reference operator*() const noexcept { return *at_; }
  CountingIterator& operator++() noexcept {
    *seen_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const noexcept { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const noexcept { return at_ != other.at_; }

 private:
  const char* at_;
  const char** seen_;
};

/// Python's bare NaN, Infinity and -Infinity, made strings of the same length so that the parser
/// accepts them; `ordinals` are their numbers among all string tokens.
struct PythonNumbers {
  std::vector<std::size_t> ordinals;
  std::vector<double> values;
};

std::string mask_python_numbers(std::string_view text, PythonNumbers& found) {
  struct Word {
    std::string_view text, mask;
    double value;
  };
  static constexpr double kInf = std::numeric_limits<double>::infinity();
  static constexpr Word kWords[] = {{"NaN", "\"N\"", std::numeric_limits<double>::quiet_NaN()},
                                    {"Infinity", "\"Infin\"", kInf},
                                    {"-Infinity", "\"-Infin\"", -kInf}};
  std::string masked(text);
  std::size_t strings = 0;
  bool inside = false;
  for (std::size_t i = 0; i < masked.size(); ++i) {
    if (inside) {
      if (masked[i] == '\\') {
        ++i;  // Whatever is escaped does not end the string.
      } else if (masked[i] == '"') {
        inside = false;
      }
      continue;
    }
    if (masked[i] == '"') {
      inside = true;
      ++strings;
      continue;
    }
    for (const Word& word : kWords) {
      if (text.substr(i, word.text.size()) != word.text) continue;
      std::memcpy(masked.data() + i, word.mask.data(), word.mask.size());
      std::memset(masked.data() + i + word.mask.size(), ' ', word.text.size() - word.mask.size());
      found.ordinals.push_back(strings++);
      found.values.push_back(word.value);
      i += word.text.size() - 1;
      break;
    }
  }
  return masked;
}

/// Builds the document from SAX events, with limits. Members are appended without a search for
/// their key (vocabularies have 262k of them); duplicates are found by sorting when an object ends.
class Builder {
 public:
  using number_integer_t = Parser::number_integer_t;
  using number_unsigned_t = Parser::number_unsigned_t;
  using number_float_t = Parser::number_float_t;
  using string_t = Parser::string_t;
  using binary_t = Parser::binary_t;

  Builder(const char* begin, const char* const* seen, std::string_view file,
          const JsonLimits& limits, const PythonNumbers& python)
      : begin_(begin), seen_(seen), file_(file), limits_(limits), python_(python) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  /// What has a minus sign; "-0" is no unsigned integer, so it is the float.
  bool number_integer(number_integer_t value) { return value == 0 ? add(-0.0) : add(value); }
  bool number_unsigned(number_unsigned_t value) { return add(value); }
  bool number_float(number_float_t value, const string_t&) { return add(value); }
  bool binary(binary_t&) { return fail(ErrorCode::kMalformed, "binary values are not JSON"); }
  bool string(string_t& value) {
    const std::size_t ordinal = strings_++;
    if (next_python_ < python_.ordinals.size() && python_.ordinals[next_python_] == ordinal) {
      return add(python_.values[next_python_++]);
    }
    return add(std::move(value));
  }
  bool key(string_t& value) {
    const std::size_t ordinal = strings_++;
    if (next_python_ < python_.ordinals.size() && python_.ordinals[next_python_] == ordinal) {
      return fail(ErrorCode::kMalformed, "a number stands where a key must");
    }
    key_ = std::move(value);
    return true;
  }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_object() {
    const auto members = std::as_const(*open_.back()).items();
    open_.pop_back();
    return unique_keys(members);
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) {
    return fail(ErrorCode::kMalformed, "the text is not valid JSON");
  }

  Json take_root() { return std::move(root_); }
  Error take_error() { return std::move(error_); }

 private:
  bool fail(ErrorCode code, const char* message, std::string field = {}) {
    const auto offset = static_cast<std::uint64_t>(*seen_ - begin_);
    // Without a field of its own the error names the last key that was read.
    if (field.empty()) field = key_.empty() ? "JSON text" : quote(key_);
    error_ = Error(code, message).in_file(std::string(file_)).at(offset).of(std::move(field));
    return false;
  }

  /// Puts a value where the document continues. \return its place, nullptr after a failure.
  Json* place(Json value) {
    if (++values_ > limits_.max_values) {
      fail(ErrorCode::kLimit, "the JSON text holds too many values");
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& container = *open_.back();
    if (container.is_object()) return &container.append(key_, std::move(value));
    container.push_back(std::move(value));
    return &container.elements().back();
  }

  template <class T>
  bool add(T&& value) {
    return place(Json(std::forward<T>(value))) != nullptr;
  }

  bool open(Json container) {
    if (open_.size() >= limits_.max_depth) {
      return fail(ErrorCode::kLimit, "the JSON text is nested too deeply");
    }
    Json* at = place(std::move(container));
    if (at == nullptr) return false;
    open_.push_back(at);
    return true;
  }

  bool unique_keys(std::span<const JsonMember> members) {
    if (members.size() < 2) return true;
    std::vector<const std::string*> keys;
    keys.reserve(members.size());
    for (const JsonMember& member : members) keys.push_back(&member.key);
    const auto less = [](const auto* a, const auto* b) { return *a < *b; };
    if (!std::is_sorted(keys.begin(), keys.end(), less)) std::sort(keys.begin(), keys.end(), less);
    const auto twin = std::adjacent_find(keys.begin(), keys.end(),
                                         [](const auto* a, const auto* b) { return *a == *b; });
    if (twin == keys.end()) return true;
    return fail(ErrorCode::kMalformed, "an object holds a key twice", quote(**twin));
  }

  const char* begin_;
  const char* const* seen_;
  std::string_view file_;
  const JsonLimits& limits_;
  const PythonNumbers& python_;
  Json root_;
  std::vector<Json*> open_;  ///< Stable: only the innermost container grows.
  std::string key_;
  std::size_t strings_ = 0, next_python_ = 0, values_ = 0;
  Error error_;
};

/// `{"__float__": "Infinity"}`, as transformers 5 writes what JSON lacks.
std::optional<double> wrapped_float(const Json& value) {
  if (value.size() != 1) return {};
  const std::string& text = value["__float__"].string();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return {};
}

ConfigValue scalar_value(const Json& value) {
  if (const auto wrapped = wrapped_float(value)) return *wrapped;
  switch (value.type()) {
    case Json::Type::kBoolean:
      return value.boolean();
    case Json::Type::kNegative:
      return value.integer();
    case Json::Type::kUnsigned:
      if (value.integer() < 0) return value.number();  // Beyond 2^63.
      return value.integer();
    case Json::Type::kFloat:
      return value.number();
    case Json::Type::kString:
      return value.string();
    default:
      return std::monostate{};
  }
}

ConfigValue list_value(const Json& list) {
  ConfigList values;
  values.reserve(list.size());
  for (const Json& item : list) {
    if (!item.is_scalar() && !wrapped_float(item)) return dump_json(list);
    values.push_back(scalar_value(item));
  }
  return values;
}

/// Recursion is bounded by the depth that the parser allowed.
Status flatten_into(const Json& object, const std::string& prefix, std::string_view file,
                    Config& config) {
  for (const auto& [name, value] : object.items()) {
    std::string key = prefix + name;
    if (value.is_object() && !wrapped_float(value)) {
      QUERN_CHECK(flatten_into(value, key + ".", file, config));
      continue;
    }
    if (config.find(key) != nullptr) {
      return Error(ErrorCode::kMalformed, "two keys are the same once they are joined by dots")
          .in_file(std::string(file))
          .of(quote(key));
    }
    config.set(std::move(key), value.is_array() ? list_value(value) : scalar_value(value));
  }
  return {};
}

Json value_to_json(const ConfigValue& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b;
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i;
  if (const auto* s = std::get_if<std::string>(&value)) return *s;
  if (const auto* d = std::get_if<double>(&value)) {
    if (std::isfinite(*d)) return *d;
    Json wrapped = Json::object();
    wrapped["__float__"] = std::isnan(*d) ? "NaN" : *d > 0 ? "Infinity" : "-Infinity";
    return wrapped;
  }
  if (const auto* list = std::get_if<ConfigList>(&value)) {
    Json array = Json::array();
    for (const ConfigValue& item : *list) array.push_back(value_to_json(item));
    return array;
  }
  return nullptr;
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view file, const JsonLimits& limits,
                        bool python_numbers) {
  if (text.size() > limits.max_bytes) {
    return Error(ErrorCode::kLimit, "the JSON text is too long")
        .in_file(std::string(file))
        .of("JSON text")
        .want("at most " + std::to_string(limits.max_bytes) + " bytes")
        .got(std::to_string(text.size()));
  }
  PythonNumbers python;
  std::string masked;
  if (python_numbers && (text.find("NaN") != text.npos || text.find("Infinity") != text.npos)) {
    masked = mask_python_numbers(text, python);
    text = masked;
  }
  // nlohmann would skip a byte order mark, and take a NUL for the end; neither is JSON.
  const std::size_t foreign = text.substr(0, 3) == "\xEF\xBB\xBF" ? 0 : text.find('\0');
  if (foreign != text.npos) {
    return Error(ErrorCode::kMalformed, "a byte order mark or NUL stands in the JSON text")
        .in_file(std::string(file))
        .of("JSON text")
        .at(foreign);
  }
  const char* seen = text.data();
  Builder builder(text.data(), &seen, file, limits, python);
  const CountingIterator first(text.data(), &seen), last(text.data() + text.size(), &seen);
  if (!Parser::sax_parse(first, last, &builder)) return builder.take_error();
  return builder.take_root();
}

Result<Json> read_json_file(const std::string& path, const JsonLimits& limits,
                            bool python_numbers) {
  QUERN_TRY(text, read_file(path, limits.max_bytes));
  return parse_json(text, path, limits, python_numbers);
}

Result<Config> flatten_json(const Json& object, std::string_view file) {
  if (!object.is_object()) {
    return Error(ErrorCode::kMalformed, "a configuration must be a JSON object")
        .in_file(std::string(file))
        .want("object")
        .got(object.type_name());
  }
  Config config;
  QUERN_CHECK(flatten_into(object, "", file, config));
  return config;
}

Json config_to_json(const Config& config) {
  Json object = Json::object();
  for (const auto& [key, value] : config.items()) object.append(key, value_to_json(value));
  return object;
}

}  // namespace quern::formats
