// Source: the safetensors format description and the checks of its reference reader.

#include "formats/safetensors_reader.h"

#include <algorithm>
#include <utility>

#include "formats/byte_reader.h"
#include "formats/json.h"

namespace quern::formats {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxTensors = 1u << 18;
constexpr std::size_t kMaxShards = 4096;
constexpr std::size_t kMaxDims = 16;
constexpr std::uint64_t kMaxIndexBytes = 64u << 20;
constexpr JsonLimits kHeaderLimits{4, kMaxHeaderBytes, 16 * kMaxTensors};

constexpr SafeDtype kDtypes[] = {
    {"F32", 32, Encoding::kF32},      {"F16", 16, Encoding::kF16},
    {"BF16", 16, Encoding::kBF16},    {"F64", 64, std::nullopt},
    {"I64", 64, Encoding::kI64},      {"I32", 32, Encoding::kI32},
    {"I16", 16, std::nullopt},        {"I8", 8, std::nullopt},
    {"U8", 8, Encoding::kU8},         {"U16", 16, std::nullopt},
    {"U32", 32, std::nullopt},        {"U64", 64, std::nullopt},
    {"BOOL", 8, std::nullopt},        {"F8_E4M3", 8, std::nullopt},
    {"F8_E5M2", 8, std::nullopt},     {"F8_E8M0", 8, std::nullopt},
    {"F8_E4M3FNUZ", 8, std::nullopt}, {"F8_E5M2FNUZ", 8, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},     {"F6_E3M2", 6, std::nullopt},
    {"F4", 4, std::nullopt},          {"C64", 64, std::nullopt},
};

/// Starts of files that are no safetensors, and what they are.
struct Magic {
  std::string_view bytes, what;
};
constexpr Magic kForeign[] = {
    {std::string_view("PK\3\4", 4), "a zip archive (PyTorch checkpoints are pickles in one)"},
    {std::string_view("\x89HDF\r\n\x1a\n", 8), "an HDF5 file"},
    {std::string_view("GGUF", 4), "a GGUF file"},
    {std::string_view("QUERN\0", 6), "a .quern file"},
    {std::string_view("version https://git-lfs", 23), "a Git LFS pointer, not the file itself"},
};

Error bad(const std::string& path, ErrorCode code, const char* message, std::string_view field,
          std::uint64_t at) {
  return Error(code, message).in_file(path).at(at).of(quote(field));
}

Result<std::uint64_t> unsigned_number(const Json& value, const std::string& path,
                                      std::string_view field) {
  if (value.is_unsigned()) return value.unsigned_integer();
  return bad(path, ErrorCode::kMalformed, "a number is not a non-negative integer", field, 8)
      .got(value.type_name());
}

/// Reads one tensor's JSON; its offset is relative to the data, its data not set.
struct RawTensor {
  SafeTensor tensor;
  std::uint64_t begin = 0, end = 0;
};

Result<RawTensor> read_tensor(const std::string& name, const Json& object,
                              const std::string& path) {
  const auto broken = [&](const char* message) {
    return bad(path, ErrorCode::kMalformed, message, name, 8);
  };
  if (!object.is_object()) return broken("a tensor's description is not an object");
  RawTensor raw;
  raw.tensor.name = name;
  const Json* dtype = nullptr;
  const Json* shape = nullptr;
  const Json* offsets = nullptr;
  for (const auto& [key, value] : object.items()) {
    if (key == "dtype") {
      dtype = &value;
    } else if (key == "shape") {
      shape = &value;
    } else if (key == "data_offsets") {
      offsets = &value;
    } else {
      return broken("a tensor's description has an unknown key").got(quote(key));
    }
  }
  if (dtype == nullptr || !dtype->is_string()) return broken("a tensor has no dtype");
  if (shape == nullptr || !shape->is_array()) return broken("a tensor has no shape");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return broken("a tensor has no pair of data_offsets");
  }
  if (shape->size() > kMaxDims) return broken("a tensor has too many dimensions");
  raw.tensor.dtype_name = dtype->string();
  raw.tensor.dtype = find_safe_dtype(raw.tensor.dtype_name);
  for (const Json& extent : *shape) {
    QUERN_TRY(number, unsigned_number(extent, path, name));
    raw.tensor.shape.push_back(number);
  }
  QUERN_TRY(begin, unsigned_number((*offsets)[0], path, name));
  QUERN_TRY(end, unsigned_number((*offsets)[1], path, name));
  raw.begin = begin;
  raw.end = end;
  return raw;
}

/// Bytes of a tensor by dtype and shape; nullopt on overflow or where bits make no whole byte.
std::optional<std::uint64_t> shape_bytes(const SafeDtype& dtype,
                                         const std::vector<std::uint64_t>& shape) noexcept {
  std::optional<std::uint64_t> bits = std::uint64_t{dtype.bits};
  for (const std::uint64_t extent : shape) {
    if (bits) bits = checked_mul(*bits, extent);
  }
  if (!bits || *bits % 8 != 0) return std::nullopt;
  return *bits / 8;
}

/// Offsets sorted and contiguous, sizes exact, the last end the end of the file.
Status check_cover(std::vector<RawTensor>& raws, std::uint64_t data_start, std::uint64_t data_bytes,
                   const std::string& path) {
  std::sort(raws.begin(), raws.end(), [](const RawTensor& a, const RawTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t at = 0;
  for (const RawTensor& raw : raws) {
    const std::string& name = raw.tensor.name;
    if (raw.begin != at || raw.end < raw.begin) {
      return bad(path, ErrorCode::kMalformed, "tensor data overlap or leave a hole", name,
                 data_start + at)
          .want("begin " + std::to_string(at))
          .got(std::to_string(raw.begin) + " to " + std::to_string(raw.end));
    }
    if (raw.end > data_bytes) {
      return bad(path, ErrorCode::kTruncated, "the file ends inside a tensor", name,
                 data_start + at)
          .want("end at most " + std::to_string(data_bytes))
          .got(std::to_string(raw.end));
    }
    const auto size = raw.tensor.dtype == nullptr
                          ? std::optional(raw.end - raw.begin)
                          : shape_bytes(*raw.tensor.dtype, raw.tensor.shape);
    if (size != raw.end - raw.begin) {
      return bad(path, ErrorCode::kMismatch, "a tensor's shape and its bytes disagree", name,
                 data_start + at)
          .want(size ? std::to_string(*size) + " bytes" : "a size below 2^64 bits")
          .got(std::to_string(raw.end - raw.begin));
    }
    at = raw.end;
  }
  if (at == data_bytes) return {};
  return bad(path, ErrorCode::kMalformed, "bytes follow the last tensor", "file size",
             data_start + at)
      .want(std::to_string(at) + " bytes of data")
      .got(std::to_string(data_bytes));
}

/// Length and text of the header.
Result<std::string_view> header_text(ByteReader& in, const std::string& path,
                                     std::span<const std::byte> bytes) {
  if (const auto what = foreign_magic(bytes); !what.empty()) {
    return Error(ErrorCode::kUnsupported, "this file is not read as safetensors")
        .in_file(path)
        .at(0)
        .of("magic")
        .want("safetensors")
        .got(std::string(what));
  }
  QUERN_TRY(length, in.get<std::uint64_t>("header length"));
  if (length > kMaxHeaderBytes) {
    return in.error(ErrorCode::kLimit, "the header is too long", "header length", 0)
        .want("at most 100000000 bytes")
        .got(std::to_string(length));
  }
  QUERN_TRY(text, in.text(length, "header"));
  if (text.empty() || text.front() != '{') {
    return in.error(ErrorCode::kMalformed, "the header does not begin with {", "header", 8);
  }
  return text;
}

Status read_metadata(const Json& object, const std::string& path,
                     std::map<std::string, std::string>& metadata) {
  if (!object.is_object()) {
    return bad(path, ErrorCode::kMalformed, "the metadata are not an object", "__metadata__", 8);
  }
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) {
      return bad(path, ErrorCode::kMalformed, "a metadata value is not a string", key, 8);
    }
    metadata.insert_or_assign(key, value.string());
  }
  return {};
}

bool is_plain_file_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
}

/// The index of a sharded checkpoint: which tensor lies in which file.
Result<std::map<std::string, std::string>> read_index(const std::string& path) {
  QUERN_TRY(json, read_json_file(path, {8, kMaxIndexBytes, 4 * kMaxTensors}));
  const Json* map = json.find("weight_map");
  if (map == nullptr || !map->is_object()) {
    return bad(path, ErrorCode::kMalformed, "the index has no weight_map", "weight_map", 0);
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, file] : map->items()) {
    if (!is_plain_file_name(file.string())) {
      return bad(path, ErrorCode::kMalformed, "a shard is not named by a plain file name", name, 0)
          .got(file.is_string() ? quote(file.string()) : std::string(file.type_name()));
    }
    shards.emplace(name, file.string());
  }
  return shards;
}

}  // namespace

const SafeDtype* find_safe_dtype(std::string_view name) noexcept {
  for (const SafeDtype& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

std::string_view foreign_magic(std::span<const std::byte> bytes) noexcept {
  const std::string_view text = as_text(bytes);
  // A header length below 2^32 before a { may begin with any of the magics by chance; such a file
  // meets the strict rules of safetensors, which leave no room for another format.
  if (text.size() > 8 && text.substr(4, 5) == std::string_view("\0\0\0\0{", 5)) return {};
  for (const Magic& magic : kForeign) {
    if (text.substr(0, magic.bytes.size()) == magic.bytes) return magic.what;
  }
  if (text.size() > 1 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) {
    return "a Python pickle, which can run code and is never parsed";
  }
  return {};
}

Status SafetensorsFile::add_shard(std::span<const std::byte> bytes, const std::string& path) {
  ByteReader in(bytes, path);
  QUERN_TRY(text, header_text(in, path, bytes));
  const std::uint64_t data_start = in.offset();
  auto parsed = parse_json(text, path, kHeaderLimits);
  if (!parsed.ok()) {
    Error error = std::move(parsed).error();
    error.offset = error.offset.value_or(0) + sizeof(std::uint64_t);  // Counted from the header.
    return error;
  }
  const Json& json = *parsed;
  std::vector<RawTensor> raws;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      QUERN_CHECK(read_metadata(value, path, metadata_));
      continue;
    }
    if (tensors_.size() + raws.size() >= kMaxTensors) {
      return bad(path, ErrorCode::kLimit, "the checkpoint has too many tensors", name, 8);
    }
    QUERN_TRY(raw, read_tensor(name, value, path));
    raws.push_back(std::move(raw));
  }
  QUERN_CHECK(check_cover(raws, data_start, in.remaining(), path));
  for (RawTensor& raw : raws) {
    raw.tensor.shard = static_cast<std::uint32_t>(shard_paths_.size());
    raw.tensor.offset = data_start + raw.begin;
    raw.tensor.data = bytes.subspan(static_cast<std::size_t>(raw.tensor.offset),
                                    static_cast<std::size_t>(raw.end - raw.begin));
    tensors_.push_back(std::move(raw.tensor));
  }
  shard_paths_.push_back(path);
  return {};
}

Status SafetensorsFile::finish() {
  std::sort(tensors_.begin(), tensors_.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  const auto twin =
      std::adjacent_find(tensors_.begin(), tensors_.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twin == tensors_.end()) return {};
  return bad(shard_paths_[twin->shard], ErrorCode::kMalformed, "a tensor lies in two shards",
             twin->name, twin->offset);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file;
  std::map<std::string, std::string> promised;
  std::vector<std::string> paths;
  if (path.ends_with(".index.json")) {
    QUERN_TRY(index, read_index(path));
    promised = std::move(index);
    const std::size_t slash = path.rfind('/');
    const std::string directory = slash == path.npos ? "" : path.substr(0, slash + 1);
    for (const auto& [name, shard] : promised) paths.push_back(directory + shard);
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
    if (paths.size() > kMaxShards) {
      return bad(path, ErrorCode::kLimit, "the index names too many shards", "weight_map", 0);
    }
  } else {
    paths.push_back(path);
  }
  for (const std::string& shard : paths) {
    QUERN_TRY(mapped, MappedFile::open(shard));
    QUERN_CHECK(file.add_shard(mapped.bytes(), shard));
    file.shards_.push_back(std::move(mapped));
  }
  QUERN_CHECK(file.finish());
  for (const auto& [name, shard] : promised) {
    const SafeTensor* tensor = file.find(name);
    if (tensor == nullptr || !file.shard_paths_[tensor->shard].ends_with(shard)) {
      return bad(path, tensor == nullptr ? ErrorCode::kMissing : ErrorCode::kMismatch,
                 "a tensor is not in the shard that the index names", name, 0)
          .want(quote(shard));
    }
  }
  return file;
}

Result<SafetensorsFile> SafetensorsFile::from_bytes(std::span<const std::byte> bytes,
                                                    std::string name) {
  SafetensorsFile file;
  QUERN_CHECK(file.add_shard(bytes, name));
  QUERN_CHECK(file.finish());
  return file;
}

const SafeTensor* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const SafeTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at == tensors_.end() || at->name != name ? nullptr : &*at;
}

void SafetensorsFile::release(const SafeTensor& tensor) const noexcept {
  if (tensor.shard < shards_.size()) shards_[tensor.shard].release(tensor.data);
}

}  // namespace quern::formats
