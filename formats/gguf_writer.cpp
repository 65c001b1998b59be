#include "formats/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "formats/byte_reader.h"

namespace quern::formats {
namespace {

constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kHeadBytes = 24;

Error invalid(const char* message, std::string_view field) {
  return Error(ErrorCode::kInvalidArgument, message).of(quote(field));
}

void append_string(std::string& to, std::string_view text) {
  append_le<std::uint64_t>(to, text.size());
  to.append(text);
}

void append_array_head(std::string& to, GgufType type, std::uint64_t count) {
  append_le(to, static_cast<std::uint32_t>(type));
  append_le(to, count);
}

template <class T>
bool append_checked(std::string& to, std::int64_t value) {
  if (!std::in_range<T>(value)) return false;
  append_le(to, static_cast<T>(value));
  return true;
}

/// Appends an integer as `type`; false where the type is no integer type or cannot hold it.
bool append_integer(std::string& to, GgufType type, std::int64_t value) {
  switch (type) {
    case GgufType::kU8:
      return append_checked<std::uint8_t>(to, value);
    case GgufType::kI8:
      return append_checked<std::int8_t>(to, value);
    case GgufType::kU16:
      return append_checked<std::uint16_t>(to, value);
    case GgufType::kI16:
      return append_checked<std::int16_t>(to, value);
    case GgufType::kU32:
      return append_checked<std::uint32_t>(to, value);
    case GgufType::kI32:
      return append_checked<std::int32_t>(to, value);
    case GgufType::kU64:
      return append_checked<std::uint64_t>(to, value);
    case GgufType::kI64:
      return append_checked<std::int64_t>(to, value);
    default:
      return false;
  }
}

}  // namespace

Result<GgufWriter> GgufWriter::create(const std::string& path, std::uint64_t alignment) {
  QUERN_TRY(file, AtomicFile::create(path));
  auto owned = std::make_unique<AtomicFile>(std::move(file));
  QUERN_TRY(writer, to_sink(*owned, alignment));
  writer.file_ = std::move(owned);
  return writer;
}

Result<GgufWriter> GgufWriter::to_sink(ByteSink& sink, std::uint64_t alignment) {
  if (!std::has_single_bit(alignment) || alignment < 8 || alignment > 65536) {
    return invalid("the alignment must be a power of two, 8 to 65536", kAlignmentKey);
  }
  GgufWriter writer;
  writer.sink_ = &sink;
  writer.alignment_ = alignment;
  if (alignment != kDefaultAlignment) {
    QUERN_CHECK(writer.add_unsigned(kAlignmentKey, static_cast<std::uint32_t>(alignment)));
  }
  return writer;
}

Status GgufWriter::add_value(std::string_view key, GgufType type, std::string_view value) {
  if (begun_) return invalid("metadata cannot be added once writing has begun", key);
  if (key.empty() || key.size() > 65535) return invalid("a key is empty or too long", key);
  if (std::find(keys_.begin(), keys_.end(), key) != keys_.end()) {
    return invalid("a key is given twice", key);
  }
  keys_.emplace_back(key);
  append_string(metadata_, key);
  append_le(metadata_, static_cast<std::uint32_t>(type));
  metadata_.append(value);
  return {};
}

Status GgufWriter::add_unsigned(std::string_view key, std::uint32_t value) {
  return add_integer(key, value, GgufType::kU32);
}

Status GgufWriter::add_integer(std::string_view key, std::int64_t value, GgufType type) {
  std::string bytes;
  if (!append_integer(bytes, type, value)) return invalid("the type cannot hold the value", key);
  return add_value(key, type, bytes);
}

Status GgufWriter::add_float(std::string_view key, double value, GgufType type) {
  std::string bytes;
  if (type == GgufType::kF32) {
    append_le(bytes, static_cast<float>(value));
  } else if (type == GgufType::kF64) {
    append_le(bytes, value);
  } else {
    return invalid("the type is no floating-point type", key);
  }
  return add_value(key, type, bytes);
}

Status GgufWriter::add_bool(std::string_view key, bool value) {
  return add_value(key, GgufType::kBool, std::string_view(value ? "\1" : "\0", 1));
}

Status GgufWriter::add_string(std::string_view key, std::string_view value) {
  std::string bytes;
  append_string(bytes, value);
  return add_value(key, GgufType::kString, bytes);
}

Status GgufWriter::add_strings(std::string_view key, std::span<const std::string_view> values) {
  std::string bytes;
  append_array_head(bytes, GgufType::kString, values.size());
  for (const std::string_view value : values) append_string(bytes, value);
  return add_value(key, GgufType::kArray, bytes);
}

Status GgufWriter::add_floats(std::string_view key, std::span<const float> values) {
  std::string bytes;
  append_array_head(bytes, GgufType::kF32, values.size());
  for (const float value : values) append_le(bytes, value);
  return add_value(key, GgufType::kArray, bytes);
}

Status GgufWriter::add_integers(std::string_view key, std::span<const std::int64_t> values,
                                GgufType type) {
  std::string bytes;
  append_array_head(bytes, type, values.size());
  for (const std::int64_t value : values) {
    if (!append_integer(bytes, type, value)) return invalid("the type cannot hold a value", key);
  }
  return add_value(key, GgufType::kArray, bytes);
}

Status GgufWriter::reserve_string(std::string_view key, std::uint64_t bytes) {
  if (reserved_bytes_ > 0) return invalid("a second string cannot be reserved", key);
  QUERN_CHECK(add_string(key, std::string(static_cast<std::size_t>(bytes), ' ')));
  reserved_bytes_ = bytes;
  reserved_at_ = kHeadBytes + metadata_.size() - bytes;
  return {};
}

Status GgufWriter::fill_reserved(std::string_view text) {
  if (!begun_ || reserved_bytes_ == 0) return invalid("nothing was reserved", sink_->name());
  if (text.size() > reserved_bytes_) {
    return Error(ErrorCode::kLimit, "the text is longer than what was reserved for it")
        .in_file(sink_->name())
        .want("at most " + std::to_string(reserved_bytes_) + " bytes")
        .got(std::to_string(text.size()));
  }
  return sink_->write_at(reserved_at_, as_bytes(text));
}

Status GgufWriter::add_entry(const GgufEntry& entry) {
  if (entry.key == kAlignmentKey) return {};
  std::string bytes;
  if (entry.type == GgufType::kArray) {
    append_array_head(bytes, entry.array.type(), entry.array.size());
  } else if (entry.type == GgufType::kString) {
    append_le<std::uint64_t>(bytes, entry.value.size());
  }
  bytes.append(as_text(entry.value));
  return add_value(entry.key, entry.type, bytes);
}

Status GgufWriter::declare_tensor(std::string_view name, std::span<const std::uint64_t> ne,
                                  const GgmlType& type) {
  if (begun_) return invalid("tensors cannot be declared once writing has begun", name);
  if (name.empty() || name.size() > 63) return invalid("GGUF names have 1 to 63 bytes", name);
  if (std::any_of(tensors_.begin(), tensors_.end(),
                  [&](const Tensor& other) { return other.name == name; })) {
    return invalid("a tensor name is given twice", name);
  }
  const std::uint64_t bytes = ne.size() <= 4 ? ggml_tensor_bytes(type, ne).value_or(0) : 0;
  const auto offset = round_up(data_bytes_, alignment_);
  const auto end = offset ? checked_add(*offset, bytes) : offset;
  if (bytes == 0 || !end) return invalid("the dimensions do not fit the type", name);
  append_string(table_, name);
  append_le(table_, static_cast<std::uint32_t>(ne.size()));
  for (const std::uint64_t extent : ne) append_le(table_, extent);
  append_le(table_, type.id);
  append_le(table_, *offset);
  tensors_.push_back({std::string(name), *offset, bytes});
  data_bytes_ = *end;
  return {};
}

std::string GgufWriter::head() const {
  std::string bytes = "GGUF";
  append_le<std::uint32_t>(bytes, 3);
  append_le<std::uint64_t>(bytes, tensors_.size());
  append_le<std::uint64_t>(bytes, keys_.size());
  return bytes;
}

std::uint64_t GgufWriter::total_bytes() const noexcept {
  const std::uint64_t front = kHeadBytes + metadata_.size() + table_.size();
  const std::uint64_t start = round_up(front, alignment_).value_or(front);
  return start + round_up(data_bytes_, alignment_).value_or(data_bytes_);
}

Status GgufWriter::begin() {
  if (begun_) return invalid("writing has begun already", sink_->name());
  begun_ = true;
  QUERN_CHECK(sink_->expect_bytes(total_bytes()));
  std::string front = head() + metadata_ + table_;
  front.resize(static_cast<std::size_t>(
      round_up<std::uint64_t>(front.size(), alignment_).value_or(front.size())));
  data_start_ = front.size();
  return sink_->write_at(0, as_bytes(front));
}

Status GgufWriter::write(std::span<const std::byte> bytes) {
  if (!begun_ || current_ >= tensors_.size()) {
    return invalid("no tensor is waiting for data", sink_->name());
  }
  const Tensor& tensor = tensors_[current_];
  if (bytes.size() > tensor.bytes - written_) {
    return invalid("more bytes than the tensor has", tensor.name);
  }
  QUERN_CHECK(sink_->write_at(data_start_ + tensor.offset + written_, bytes));
  written_ += bytes.size();
  if (written_ == tensor.bytes) {
    ++current_;
    written_ = 0;
  }
  return {};
}

std::uint64_t GgufWriter::next_offset() const noexcept {
  return current_ < tensors_.size() ? data_start_ + tensors_[current_].offset + written_ : 0;
}

Status GgufWriter::skip_tensor() {
  if (!begun_ || current_ >= tensors_.size() || written_ != 0) {
    return invalid("no whole tensor is waiting for data", sink_->name());
  }
  ++current_;
  return {};
}

Status GgufWriter::seal() {
  if (!begun_ || current_ != tensors_.size()) {
    return invalid("a tensor is incomplete",
                   current_ < tensors_.size() ? tensors_[current_].name : sink_->name());
  }
  const std::uint64_t end = data_start_ + data_bytes_;
  const std::string padding(static_cast<std::size_t>(total_bytes() - end), '\0');
  return sink_->write_at(end, as_bytes(padding));
}

Status GgufWriter::finish() {
  QUERN_CHECK(seal());
  return sink_->commit();
}

}  // namespace quern::formats
