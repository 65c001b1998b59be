// GGUF: header, metadata, tensor table, padding, tensor data. Source: ggml, docs/gguf.md.

#include "formats/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "formats/byte_reader.h"

namespace quern::formats {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxNameBytes = 4096;
constexpr std::uint64_t kMaxEntries = 1u << 16;
constexpr std::uint64_t kMaxTensors = 1u << 18;
constexpr std::uint32_t kMaxDims = 4;
constexpr std::uint32_t kMinAlignment = 8, kMaxAlignment = 1u << 16;
// The least an entry takes: key length, one character, type, one byte; and a tensor: name length,
// one character, dimension count, one dimension, type, offset.
constexpr std::uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

/// \pre the entry is no array.
ConfigValue scalar_value(const GgufEntry& entry) {
  if (entry.type == GgufType::kString) return std::string(as_text(entry.value));
  if (entry.type == GgufType::kBool) return entry.value[0] != std::byte{0};
  const GgufArray one(entry.type, 1, entry.value);
  if (const auto number = one.number(0)) return *number;
  if (const auto integer = one.integer(0)) return *integer;
  return static_cast<double>(load_le<std::uint64_t>(entry.value.data()));  // Beyond int64.
}

/// Indices of `items` sorted by `name_of`; a duplicate's index in `twin`.
template <class Items, class NameOf>
std::vector<std::uint32_t> sort_by_name(const Items& items, NameOf name_of,
                                        std::optional<std::uint32_t>& twin) {
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const int sign = name_of(items[a]).compare(name_of(items[b]));
    return sign != 0 ? sign < 0 : a < b;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (name_of(items[order[i - 1]]) == name_of(items[order[i]])) twin = order[i];
  }
  return order;
}

}  // namespace

/// One pass over a file; fills a GgufFile.
class GgufParser {
 public:
  GgufParser(GgufFile& out, std::span<const std::byte> bytes)
      : out_(out), bytes_(bytes), in_(bytes, out.path_) {}

  Status parse() {
    QUERN_CHECK(header());
    QUERN_CHECK(in_.expect_items(n_entries_, kMinEntryBytes, "n_kv"));
    for (std::uint64_t i = 0; i < n_entries_; ++i) QUERN_CHECK(entry());
    QUERN_CHECK(index_entries());
    QUERN_CHECK(alignment());
    QUERN_CHECK(in_.expect_items(n_tensors_, kMinTensorBytes, "n_tensors"));
    for (std::uint64_t i = 0; i < n_tensors_; ++i) QUERN_CHECK(tensor());
    QUERN_CHECK(index_tensors());
    return place_tensors();
  }

 private:
  Error error(ErrorCode code, const char* message, std::string_view field, std::uint64_t at) const {
    return in_.error(code, message, field, at);
  }

  Status header() {
    QUERN_TRY(magic, in_.get<std::uint32_t>("magic"));
    if (magic != kMagic) {
      return error(ErrorCode::kMalformed, "this is not a GGUF file", "magic", 0).want("\"GGUF\"");
    }
    QUERN_TRY(version, in_.get<std::uint32_t>("version"));
    if (version == 0x02000000 || version == 0x03000000) {
      return error(ErrorCode::kUnsupported, "big-endian GGUF files are not read", "version", 4)
          .want("little endian")
          .got("big endian");
    }
    if (version != 2 && version != 3) {
      return error(ErrorCode::kUnsupported, "this version of GGUF is not read", "version", 4)
          .want("2 or 3")
          .got(std::to_string(version));
    }
    out_.version_ = version;
    QUERN_TRY(n_tensors, in_.get<std::uint64_t>("n_tensors"));
    QUERN_TRY(n_entries, in_.get<std::uint64_t>("n_kv"));
    n_tensors_ = n_tensors;
    n_entries_ = n_entries;
    QUERN_CHECK(cap(n_tensors, kMaxTensors, "n_tensors", 8));
    return cap(n_entries, kMaxEntries, "n_kv", 16);
  }

  Status cap(std::uint64_t found, std::uint64_t most, const char* field, std::uint64_t at) const {
    if (found <= most) return {};
    return error(ErrorCode::kOutOfRange, "the count is beyond what any model has", field, at)
        .want("at most " + std::to_string(most))
        .got(std::to_string(found));
  }

  Result<std::string_view> string(std::uint64_t most, const char* field) {
    const std::uint64_t at = in_.offset();
    QUERN_TRY(length, in_.get<std::uint64_t>(field));
    if (length == 0 || length > most) {
      return error(ErrorCode::kOutOfRange, "a name is empty or too long", field, at)
          .want("1 to " + std::to_string(most) + " bytes")
          .got(std::to_string(length));
    }
    return in_.text(length, field);
  }

  Status entry() {
    GgufEntry entry;
    QUERN_TRY(key, string(kMaxKeyBytes, "key"));
    entry.key = key;
    const std::string field = quote(key);
    QUERN_TRY(type, value_type(field));
    entry.type = type;
    entry.offset = in_.offset();
    if (type == GgufType::kArray) {
      QUERN_TRY(array, array_value(field));
      entry.array = array;
      entry.value = array.bytes();
    } else if (type == GgufType::kString) {
      QUERN_TRY(length, in_.get<std::uint64_t>(field));
      QUERN_TRY(text, in_.take(length, field));
      entry.value = text;
    } else {
      QUERN_TRY(value, in_.take(gguf_type_bytes(type), field));
      entry.value = value;
      if (type == GgufType::kBool) QUERN_CHECK(expect_bools(value, field, entry.offset));
    }
    if (type != GgufType::kArray) out_.config_.set(std::string(key), scalar_value(entry));
    out_.entries_.push_back(entry);
    return {};
  }

  Result<GgufType> value_type(std::string_view field) {
    const std::uint64_t at = in_.offset();
    QUERN_TRY(id, in_.get<std::uint32_t>(field));
    if (id > static_cast<std::uint32_t>(GgufType::kF64)) {
      return error(ErrorCode::kMalformed, "the value has an unknown type", field, at)
          .want("0 to 12")
          .got(std::to_string(id));
    }
    return static_cast<GgufType>(id);
  }

  Status expect_bools(std::span<const std::byte> bytes, std::string_view field,
                      std::uint64_t at) const {
    const auto wrong =
        std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
    if (wrong == bytes.end()) return {};
    return error(ErrorCode::kMalformed, "a bool is neither 0 nor 1", field,
                 at + static_cast<std::uint64_t>(wrong - bytes.begin()))
        .want("0 or 1")
        .got(std::to_string(std::to_integer<int>(*wrong)));
  }

  Result<GgufArray> array_value(std::string_view field) {
    const std::uint64_t start = in_.offset();
    QUERN_TRY(type, value_type(field));
    if (type == GgufType::kArray) {
      return error(ErrorCode::kUnsupported, "arrays of arrays are not read", field, start);
    }
    QUERN_TRY(count, in_.get<std::uint64_t>(field));
    const std::uint64_t first = in_.offset();
    if (type == GgufType::kString) {
      QUERN_CHECK(in_.expect_items(count, sizeof(std::uint64_t), field));
      for (std::uint64_t i = 0; i < count; ++i) {
        QUERN_TRY(length, in_.get<std::uint64_t>(field));
        QUERN_CHECK(in_.skip(length, field));
      }
      return GgufArray(type, count, slice(first, in_.offset() - first));
    }
    QUERN_CHECK(in_.expect_items(count, gguf_type_bytes(type), field));
    QUERN_TRY(bytes, in_.take(count * gguf_type_bytes(type), field));  // Checked just above.
    if (type == GgufType::kBool) QUERN_CHECK(expect_bools(bytes, field, first));
    return GgufArray(type, count, bytes);
  }

  std::span<const std::byte> slice(std::uint64_t offset, std::uint64_t size) const {
    return bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  }

  Status index_entries() {
    std::optional<std::uint32_t> twin;
    out_.entry_order_ = sort_by_name(
        out_.entries_, [](const GgufEntry& e) { return e.key; }, twin);
    if (!twin) return {};
    const GgufEntry& entry = out_.entries_[*twin];
    return error(ErrorCode::kMalformed, "a metadata key stands twice", quote(entry.key),
                 entry.offset);
  }

  Status alignment() {
    const GgufEntry* entry = out_.find("general.alignment");
    if (entry == nullptr) return {};
    if (entry->type != GgufType::kU32) {
      return error(ErrorCode::kMalformed, "the alignment has the wrong type", "general.alignment",
                   entry->offset)
          .want("u32")
          .got(std::string(gguf_type_name(entry->type)));
    }
    const auto value = load_le<std::uint32_t>(entry->value.data());
    if (!std::has_single_bit(value) || value < kMinAlignment || value > kMaxAlignment) {
      return error(ErrorCode::kOutOfRange, "the alignment is not usable", "general.alignment",
                   entry->offset)
          .want("a power of two, 8 to 65536")
          .got(std::to_string(value));
    }
    out_.alignment_ = value;
    return {};
  }

  Status tensor() {
    GgufTensor tensor;
    QUERN_TRY(name, string(kMaxNameBytes, "tensor name"));
    tensor.name = name;
    const std::string field = quote(name);
    const std::uint64_t dims_at = in_.offset();
    QUERN_TRY(n_dims, in_.get<std::uint32_t>(field));
    if (n_dims == 0 || n_dims > kMaxDims) {
      return error(ErrorCode::kOutOfRange, "a tensor has too few or too many dimensions", field,
                   dims_at)
          .want("1 to 4")
          .got(std::to_string(n_dims));
    }
    tensor.n_dims = static_cast<int>(n_dims);
    for (std::uint32_t i = 0; i < n_dims; ++i) {
      QUERN_TRY(extent, in_.get<std::uint64_t>(field));
      tensor.ne[i] = extent;
    }
    const std::uint64_t type_at = in_.offset();
    QUERN_TRY(type_id, in_.get<std::uint32_t>(field));
    tensor.type = find_ggml_type(type_id);
    if (tensor.type == nullptr) {
      return error(ErrorCode::kUnsupported, "a tensor has an unknown type", field, type_at)
          .got("type " + std::to_string(type_id));
    }
    QUERN_TRY(size, tensor_size(tensor, field, dims_at));
    QUERN_TRY(offset, in_.get<std::uint64_t>(field));
    tensor.offset = offset;  // Relative until place_tensors.
    sizes_.push_back(size);
    out_.tensors_.push_back(tensor);
    return {};
  }

  Result<std::uint64_t> tensor_size(const GgufTensor& tensor, std::string_view field,
                                    std::uint64_t at) const {
    const auto size = ggml_tensor_bytes(
        *tensor.type, {tensor.ne.data(), static_cast<std::size_t>(tensor.n_dims)});
    if (size && *size <= bytes_.size()) return *size;
    std::string shape;
    for (int i = 0; i < tensor.n_dims; ++i) {
      shape += (i == 0 ? "" : " x ") + std::to_string(tensor.ne[static_cast<std::size_t>(i)]);
    }
    if (size) {
      return error(ErrorCode::kTruncated, "a tensor is larger than the file", field, at)
          .want(std::to_string(*size) + " bytes")
          .got(std::to_string(bytes_.size()));
    }
    return error(ErrorCode::kOutOfRange, "a tensor's dimensions do not fit its type", field, at)
        .want("whole blocks of " + std::to_string(tensor.type->block_elements) + ", none empty")
        .got(shape + " of " + std::string(tensor.type->name));
  }

  Status index_tensors() {
    std::optional<std::uint32_t> twin;
    out_.tensor_order_ = sort_by_name(
        out_.tensors_, [](const GgufTensor& t) { return t.name; }, twin);
    if (!twin) return {};
    return error(ErrorCode::kMalformed, "a tensor name stands twice",
                 quote(out_.tensors_[*twin].name), in_.offset());
  }

  /// The data must be covered exactly: sorted by offset, each tensor begins at the aligned end of
  /// the one before, and less than one alignment may follow the last.
  Status place_tensors() {
    const auto start = round_up(in_.offset(), out_.alignment_);  // Far from overflow: a file size.
    std::vector<std::uint32_t> order(out_.tensors_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return out_.tensors_[a].offset < out_.tensors_[b].offset;
    });
    std::uint64_t end = in_.offset();
    std::uint64_t wanted = start.value_or(end);
    for (const std::uint32_t i : order) {
      GgufTensor& tensor = out_.tensors_[i];
      const auto absolute = checked_add(start.value_or(end), tensor.offset);
      if (absolute != wanted) {
        return error(ErrorCode::kMalformed, "tensor data overlap or leave a hole",
                     quote(tensor.name), end)
            .want("offset " + std::to_string(wanted - start.value_or(end)))
            .got(std::to_string(tensor.offset));
      }
      if (wanted > bytes_.size() || sizes_[i] > bytes_.size() - wanted) {
        return error(ErrorCode::kTruncated, "the file ends inside a tensor", quote(tensor.name),
                     bytes_.size())
            .want(std::to_string(sizes_[i]) + " bytes from " + std::to_string(wanted));
      }
      tensor.offset = wanted;
      tensor.data = slice(wanted, sizes_[i]);
      end = wanted + sizes_[i];
      wanted = round_up(end, out_.alignment_).value_or(end);
    }
    if (bytes_.size() <= std::max(wanted, end)) return {};
    return error(ErrorCode::kMalformed, "bytes follow the last tensor", "file size", end)
        .want("at most " + std::to_string(wanted))
        .got(std::to_string(bytes_.size()));
  }

  GgufFile& out_;
  std::span<const std::byte> bytes_;
  ByteReader in_;
  std::uint64_t n_tensors_ = 0, n_entries_ = 0;
  std::vector<std::uint64_t> sizes_;
};

Result<GgufFile> GgufFile::open(const std::string& path) {
  QUERN_TRY(mapped, MappedFile::open(path));
  const auto bytes = mapped.bytes();
  QUERN_TRY(file, from_bytes(bytes, path));
  file.mapped_ = std::move(mapped);
  return file;
}

Result<GgufFile> GgufFile::from_bytes(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.path_ = std::move(name);
  QUERN_CHECK(GgufParser(file, bytes).parse());
  return file;
}

const GgufEntry* GgufFile::find(std::string_view key) const noexcept {
  const auto at = std::lower_bound(
      entry_order_.begin(), entry_order_.end(), key,
      [&](std::uint32_t i, std::string_view wanted) { return entries_[i].key < wanted; });
  if (at == entry_order_.end() || entries_[*at].key != key) return nullptr;
  return &entries_[*at];
}

Result<GgufArray> GgufFile::array(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) {
    return Error(ErrorCode::kMissing, "a metadata key is missing")
        .in_file(path_)
        .of(std::string(key));
  }
  if (entry->type != GgufType::kArray) {
    return Error(ErrorCode::kMismatch, "a metadata value has the wrong type")
        .in_file(path_)
        .at(entry->offset)
        .of(std::string(key))
        .want("array")
        .got(std::string(gguf_type_name(entry->type)));
  }
  return entry->array;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensor_order_.begin(), tensor_order_.end(), name,
      [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  if (at == tensor_order_.end() || tensors_[*at].name != name) return nullptr;
  return &tensors_[*at];
}

}  // namespace quern::formats
