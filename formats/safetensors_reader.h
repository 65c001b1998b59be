/// \file
/// safetensors, one file or sharded, under the strict rules of the reference implementation:
/// exact cover of the data, no holes, no overlap, no duplicates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/mapped_file.h"
#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::formats {

/// One element type of safetensors.
struct SafeDtype {
  std::string_view name;             ///< "F32", "BF16", "F8_E4M3", …
  std::uint32_t bits;                ///< Per element.
  std::optional<Encoding> encoding;  ///< Ours of the same bits; none where quern cannot read it.
};

/// \return nullptr for a dtype whose size is not known.
const SafeDtype* find_safe_dtype(std::string_view name) noexcept;

/// One tensor, row-major, outermost dimension first. A tensor of an unknown dtype is listed with
/// `dtype == nullptr`; reading its values is the caller's kUnsupported.
struct SafeTensor {
  std::string name;
  std::string dtype_name;
  const SafeDtype* dtype = nullptr;
  std::vector<std::uint64_t> shape;
  std::uint32_t shard = 0;
  std::uint64_t offset = 0;         ///< Absolute in its shard.
  std::span<const std::byte> data;  ///< Not necessarily aligned to the element size.
};

/// One or more shards seen as one checkpoint. Move-only. Thread rule: immutable after `open`.
class SafetensorsFile {
 public:
  /// Opens a `.safetensors` file, or a `*.safetensors.index.json` with the shards beside it.
  /// Errors: kMalformed, kTruncated, kLimit, kUnsupported (a pickle, zip or other foreign magic),
  /// kMissing (a shard, or a tensor that the index promises), kMismatch (index against shard), kIo.
  static Result<SafetensorsFile> open(const std::string& path);
  /// One file over bytes that outlive the object.
  static Result<SafetensorsFile> from_bytes(std::span<const std::byte> bytes, std::string name);

  /// Sorted by name.
  std::span<const SafeTensor> tensors() const noexcept { return tensors_; }
  const SafeTensor* find(std::string_view name) const noexcept;
  /// `__metadata__` of all shards.
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  const std::vector<std::string>& shard_paths() const noexcept { return shard_paths_; }
  void release(const SafeTensor& tensor) const noexcept;

 private:
  SafetensorsFile() = default;
  Status add_shard(std::span<const std::byte> bytes, const std::string& path);
  Status finish();

  std::vector<MappedFile> shards_;
  std::vector<std::string> shard_paths_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// \return why `bytes` (the start of a file) are a checkpoint that quern never parses: a pickle, a
/// zip archive (PyTorch), HDF5, …; empty where no such magic is found.
std::string_view foreign_magic(std::span<const std::byte> bytes) noexcept;

}  // namespace quern::formats
