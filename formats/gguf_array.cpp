// Access to the validated array values of a GGUF file.

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include "formats/byte_reader.h"
#include "formats/gguf_reader.h"

namespace quern::formats {
namespace {

Error wrong_array(std::string_view wanted, GgufType found) {
  return Error(ErrorCode::kMismatch, "the array has another element type")
      .want(std::string(wanted))
      .got(std::string(gguf_type_name(found)));
}

template <class T>
std::optional<std::int64_t> to_int64(const std::byte* at) noexcept {
  const T value = load_le<T>(at);
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
  }
  return static_cast<std::int64_t>(value);
}

/// An integer (or bool) of any type; nullopt for a u64 beyond int64. \pre the type is one of those.
std::optional<std::int64_t> load_integer(GgufType type, const std::byte* at) noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return to_int64<std::uint8_t>(at);
    case GgufType::kI8:
      return to_int64<std::int8_t>(at);
    case GgufType::kU16:
      return to_int64<std::uint16_t>(at);
    case GgufType::kI16:
      return to_int64<std::int16_t>(at);
    case GgufType::kU32:
      return to_int64<std::uint32_t>(at);
    case GgufType::kI32:
      return to_int64<std::int32_t>(at);
    case GgufType::kU64:
      return to_int64<std::uint64_t>(at);
    case GgufType::kI64:
      return to_int64<std::int64_t>(at);
    default:
      return {};
  }
}

bool is_float(GgufType type) noexcept { return type == GgufType::kF32 || type == GgufType::kF64; }
bool is_integer(GgufType type) noexcept { return !is_float(type) && gguf_type_bytes(type) != 0; }

double load_float(GgufType type, const std::byte* at) noexcept {
  return type == GgufType::kF32 ? static_cast<double>(load_le<float>(at)) : load_le<double>(at);
}

/// The shortest decimal that is this float: files hold decimals of configurations, rounded.
double decimal_of(float value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  double decimal = static_cast<double>(value);
  if (std::isfinite(value)) std::from_chars(digits, end, decimal);
  return decimal;
}

}  // namespace

std::string_view GgufArray::StringIterator::operator*() const noexcept {
  return {reinterpret_cast<const char*>(at_ + sizeof(std::uint64_t)),
          static_cast<std::size_t>(load_le<std::uint64_t>(at_))};
}

GgufArray::StringIterator& GgufArray::StringIterator::operator++() noexcept {
  at_ += sizeof(std::uint64_t) + load_le<std::uint64_t>(at_);
  --left_;
  return *this;
}

GgufArray::StringIterator GgufArray::StringIterator::operator++(int) noexcept {
  const StringIterator before = *this;
  ++*this;
  return before;
}

Result<GgufArray::Strings> GgufArray::strings() const {
  if (type_ != GgufType::kString) return wrong_array("string", type_);
  return Strings{{bytes_.data(), count_}, {nullptr, 0}};
}

Result<std::int64_t> GgufArray::integer(std::uint64_t i) const {
  if (!is_integer(type_)) return wrong_array("an integer type", type_);
  const auto value =
      i < count_ ? load_integer(type_, bytes_.data() + i * gguf_type_bytes(type_)) : std::nullopt;
  if (!value) return Error(ErrorCode::kOutOfRange, "the index or the element is out of range");
  return *value;
}

Result<double> GgufArray::number(std::uint64_t i) const {
  if (!is_float(type_)) return wrong_array("f32 or f64", type_);
  if (i >= count_) return Error(ErrorCode::kOutOfRange, "the index is out of range");
  const std::byte* at = bytes_.data() + i * gguf_type_bytes(type_);
  return type_ == GgufType::kF32 ? decimal_of(load_le<float>(at)) : load_le<double>(at);
}

Result<std::vector<std::int64_t>> GgufArray::integers() const {
  if (!is_integer(type_)) return wrong_array("an integer type", type_);
  std::vector<std::int64_t> values;
  values.reserve(static_cast<std::size_t>(count_));
  for (std::uint64_t i = 0; i < count_; ++i) {
    QUERN_TRY(value, integer(i));
    values.push_back(value);
  }
  return values;
}

Result<std::vector<float>> GgufArray::floats() const {
  if (!is_float(type_)) return wrong_array("f32 or f64", type_);
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(count_));
  for (std::uint64_t i = 0; i < count_; ++i) {
    values.push_back(
        static_cast<float>(load_float(type_, bytes_.data() + i * gguf_type_bytes(type_))));
  }
  return values;
}

}  // namespace quern::formats
