/// \file
/// Files as memory: a read-only mapping, an anonymous image, and whole small files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "quern/result.h"

namespace quern::formats {

/// A regular file mapped read-only. Owns the mapping; the descriptor is closed at once. Move-only.
/// Thread rule: immutable after `open`, so any thread may read.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// Maps `path` (symbolic links are followed). Errors: kIo (the system refused), kUnsupported (not
  /// a regular file), kTruncated (empty).
  static Result<MappedFile> open(const std::string& path);

  /// Page-aligned; valid until the object dies, also after it has been moved from.
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::string& path() const noexcept { return path_; }

  /// Tells the system that the pages of `part` (inside `bytes()`) are not needed soon, so that a
  /// streaming pass does not keep a whole checkpoint resident. The bytes stay readable.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

/// Zero-filled anonymous memory that grows, page-aligned as a mapped file is. Move-only.
/// Thread rule: as std::vector; addresses change on `resize` beyond the capacity.
class MemoryImage {
 public:
  MemoryImage() = default;
  MemoryImage(MemoryImage&& other) noexcept;
  MemoryImage& operator=(MemoryImage&& other) noexcept;
  MemoryImage(const MemoryImage&) = delete;
  MemoryImage& operator=(const MemoryImage&) = delete;
  ~MemoryImage();

  /// Address space for `capacity` bytes; pages cost memory only once they are written.
  Status reserve(std::uint64_t capacity);
  /// Grows (with zeros) or shrinks. Errors: kOutOfMemory.
  Status resize(std::uint64_t size);

  std::span<std::byte> bytes() noexcept { return {data_, size_}; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

/// Reads a whole regular file of at most `max_bytes`. Empty files are fine here. Errors: kIo,
/// kUnsupported (not a regular file), kLimit (larger than `max_bytes`; nothing is allocated).
Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes);

/// \return whether a regular file is there (symbolic links followed).
bool is_regular_file(const std::string& path) noexcept;

/// \return whether both paths name one existing file (the same device and inode), so through
/// symbolic and hard links too. False where either does not exist.
bool same_file(const std::string& a, const std::string& b) noexcept;

}  // namespace quern::formats
