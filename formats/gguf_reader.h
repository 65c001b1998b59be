/// \file
/// GGUF v2 and v3, little endian, read in place. Everything is validated when the file is opened;
/// the views afterwards cannot fail.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_types.h"
#include "formats/mapped_file.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::formats {

/// A validated array value inside the file: nothing is copied until asked. Strings lie one after
/// the other, so they are walked, not indexed.
class GgufArray {
 public:
  GgufArray() = default;
  /// \pre `bytes` holds exactly `count` well-formed elements (the reader has checked).
  GgufArray(GgufType type, std::uint64_t count, std::span<const std::byte> bytes) noexcept
      : type_(type), count_(count), bytes_(bytes) {}

  GgufType type() const noexcept { return type_; }
  std::uint64_t size() const noexcept { return count_; }

  /// Forward iterator over the strings of a kString array.
  class StringIterator {
   public:
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    StringIterator() = default;
    StringIterator(const std::byte* at, std::uint64_t left) noexcept : at_(at), left_(left) {}
    std::string_view operator*() const noexcept;
    StringIterator& operator++() noexcept;
    StringIterator operator++(int) noexcept;
    bool operator==(const StringIterator& other) const noexcept { return left_ == other.left_; }

   private:
    const std::byte* at_ = nullptr;
    std::uint64_t left_ = 0;
  };
  struct Strings {
    StringIterator first, last;
    StringIterator begin() const noexcept { return first; }
    StringIterator end() const noexcept { return last; }
  };

  /// The strings (any bytes). Errors: kMismatch where the elements are not strings.
  Result<Strings> strings() const;
  /// Element `i` of any integer or bool array. Errors: kMismatch (other types), kOutOfRange (index,
  /// or a u64 beyond int64).
  Result<std::int64_t> integer(std::uint64_t i) const;
  /// Element `i` of an f32 or f64 array, an f32 as the shortest decimal that rounds to it: 0.1, not
  /// 0.10000000149. Errors: kMismatch, kOutOfRange.
  Result<double> number(std::uint64_t i) const;
  /// Copies of all elements, under the same rules.
  Result<std::vector<std::int64_t>> integers() const;
  Result<std::vector<float>> floats() const;

  /// The raw elements, for writers.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  GgufType type_ = GgufType::kU8;
  std::uint64_t count_ = 0;
  std::span<const std::byte> bytes_;
};

/// One metadata entry as it stands in the file.
struct GgufEntry {
  std::string_view key;              ///< ASCII, unique.
  GgufType type = GgufType::kU8;     ///< kArray for arrays.
  std::span<const std::byte> value;  ///< The value's bytes (a string's without its length).
  GgufArray array;                   ///< Set for arrays.
  std::uint64_t offset = 0;          ///< Absolute offset of the value, for errors.
};

/// One tensor. `ne` is in ggml's order (row length first, unused ones 1).
struct GgufTensor {
  std::string_view name;
  const GgmlType* type = nullptr;
  std::array<std::uint64_t, 4> ne{1, 1, 1, 1};
  int n_dims = 0;
  std::uint64_t offset = 0;         ///< Absolute.
  std::span<const std::byte> data;  ///< Exactly the tensor's bytes; aligned as the file says.
};

/// A GGUF file. Move-only. Thread rule: immutable after `open`.
class GgufFile {
 public:
  /// Maps and validates. Errors name file, offset and field: kMalformed, kTruncated, kOutOfRange,
  /// kUnsupported (version 1, big endian, an unknown tensor type), kLimit, kIo.
  static Result<GgufFile> open(const std::string& path);
  /// The same over bytes that outlive the object.
  static Result<GgufFile> from_bytes(std::span<const std::byte> bytes, std::string name);

  const std::string& path() const noexcept { return path_; }
  std::uint32_t version() const noexcept { return version_; }
  std::uint64_t alignment() const noexcept { return alignment_; }

  /// Scalars and strings by key (arrays are not in it). A u64 beyond int64 becomes a double.
  const Config& config() const noexcept { return config_; }
  /// All entries in the file's order.
  std::span<const GgufEntry> entries() const noexcept { return entries_; }
  const GgufEntry* find(std::string_view key) const noexcept;
  /// The array under `key`. Errors: kMissing; kMismatch where the value is no array.
  Result<GgufArray> array(std::string_view key) const;

  /// All tensors in the file's order.
  std::span<const GgufTensor> tensors() const noexcept { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const noexcept;

  /// Says that a tensor's pages are not needed soon (streaming passes).
  void release(const GgufTensor& tensor) const noexcept { mapped_.release(tensor.data); }

 private:
  friend class GgufParser;
  GgufFile() = default;

  MappedFile mapped_;
  std::string path_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  Config config_;
  std::vector<GgufEntry> entries_;
  std::vector<std::uint32_t> entry_order_;  ///< Indices of entries_, by key.
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> tensor_order_;  ///< Indices of tensors_, by name.
};

}  // namespace quern::formats
