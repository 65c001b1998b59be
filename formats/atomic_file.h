/// \file
/// Where writers put bytes: a file that appears complete or not at all, or memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "formats/mapped_file.h"
#include "quern/result.h"

namespace quern::formats {

/// A random-access destination. Thread rule: one owner.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Called once before the first write with the total that will be written, as far as it is known.
  /// Errors: kLimit naming needed and free bytes where the space is not there.
  virtual Status expect_bytes(std::uint64_t total) = 0;
  /// Writes `bytes` at `offset`; gaps read as zeros.
  virtual Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Makes the result final; no write may follow.
  virtual Status commit() = 0;
  /// \return the name of the destination, for errors.
  virtual const std::string& name() const noexcept = 0;
};

/// A file written under a temporary name in the directory of its target (the file that a symbolic
/// link names), synced, renamed over the target, and the directory synced; without `commit` the
/// destructor removes it. So the target is the old file or the complete new one, whatever kills the
/// process. Left-over temporaries of this target (from killed runs, no longer locked) are removed
/// by the next `create`, unless `reopen` takes one up again. A companion file, notes on what is
/// finished in it, goes wherever the temporary goes, and away with it. Move-only.
class AtomicFile final : public ByteSink {
 public:
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() override;

  /// Errors: kIo; kInvalidArgument where `path` exists and is not a regular file.
  static Result<AtomicFile> create(const std::string& path);
  /// The newest temporary of this target that has a companion and that no living run holds, with
  /// its bytes as they are; none: nullopt. Errors: as `create`.
  static Result<std::optional<AtomicFile>> reopen(const std::string& path);

  Status expect_bytes(std::uint64_t total) override;
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status commit() override;
  const std::string& name() const noexcept override { return path_; }

  /// The temporary file's path while it is not committed: readable, not final.
  const std::string& temporary_path() const noexcept { return temporary_; }
  /// Where the companion is, if the owner makes one.
  std::string companion_path() const;
  /// Fills `bytes` from `offset`. \return false where the file ends before.
  Result<bool> read_at(std::uint64_t offset, std::span<std::byte> bytes) const;
  /// Cuts off, or fills up with zeros. Errors: kIo, kLimit.
  Status resize(std::uint64_t bytes);
  /// Leaves temporary and companion for `reopen`; nothing can be written any more.
  void keep() noexcept;

 private:
  AtomicFile() = default;
  static Result<AtomicFile> for_target(const std::string& path);
  void discard() noexcept;

  std::string path_, temporary_, directory_;
  std::string target_;  ///< The path behind symbolic links.
  std::string prefix_;  ///< Of the names of all temporaries of this target.
  int fd_ = -1;
};

/// Collects the bytes in memory. `expect_bytes` reserves address space.
class MemorySink final : public ByteSink {
 public:
  explicit MemorySink(std::string name = "memory") : name_(std::move(name)) {}
  Status expect_bytes(std::uint64_t total) override { return image_.reserve(total); }
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status commit() override { return {}; }
  const std::string& name() const noexcept override { return name_; }

  std::span<const std::byte> bytes() const noexcept { return image_.bytes(); }
  /// Hands the bytes over; the sink is empty afterwards.
  MemoryImage take() && { return std::move(image_); }

 private:
  std::string name_;
  MemoryImage image_;
};

/// Writes a whole small file atomically.
Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace quern::formats
