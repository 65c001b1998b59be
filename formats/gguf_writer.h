/// \file
/// Writes GGUF v3, little endian: metadata, tensor table, then tensor data streamed in order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/atomic_file.h"
#include "formats/gguf_reader.h"
#include "quern/result.h"

namespace quern::formats {

/// Use: add_* and declare_tensor in any order, then `begin`, then `write` for each tensor in the
/// declared order (in one or more pieces), then `finish`. The same calls give the same bytes.
/// Thread rule: one owner.
class GgufWriter {
 public:
  /// To a file that appears at `finish` (AtomicFile). \param alignment power of two, 8 … 65536.
  static Result<GgufWriter> create(const std::string& path, std::uint64_t alignment = 32);
  /// To any sink that outlives the writer.
  static Result<GgufWriter> to_sink(ByteSink& sink, std::uint64_t alignment = 32);

  // Metadata, in the order of the calls. Errors: kInvalidArgument for a key that is empty, longer
  // than 65535 bytes or given twice. `general.alignment` is written by the writer where it is
  // not 32, and skipped by `add_entry`.
  Status add_unsigned(std::string_view key, std::uint32_t value);
  Status add_integer(std::string_view key, std::int64_t value, GgufType type = GgufType::kI32);
  Status add_float(std::string_view key, double value, GgufType type = GgufType::kF32);
  Status add_bool(std::string_view key, bool value);
  Status add_string(std::string_view key, std::string_view value);
  Status add_strings(std::string_view key, std::span<const std::string_view> values);
  Status add_floats(std::string_view key, std::span<const float> values);
  Status add_integers(std::string_view key, std::span<const std::int64_t> values,
                      GgufType type = GgufType::kI32);
  /// A string of `bytes` blanks that `fill_reserved` replaces once the data is written. At most
  /// one.
  Status reserve_string(std::string_view key, std::uint64_t bytes);
  /// An entry of another file, byte for byte.
  Status add_entry(const GgufEntry& entry);

  /// \param ne ggml's order (row length first), 1 … 4 dimensions.
  /// Errors: kInvalidArgument (name used, longer than 63 bytes, dimensions that do not fit the
  /// type).
  Status declare_tensor(std::string_view name, std::span<const std::uint64_t> ne,
                        const GgmlType& type);

  /// Bytes that the whole file will have, for the dry run and the disk check.
  std::uint64_t total_bytes() const noexcept;

  /// Writes everything before the data. Errors: kIo, kLimit (disk space).
  Status begin();
  /// The next bytes of tensor data; a piece may not span two tensors.
  Status write(std::span<const std::byte> bytes);
  /// Where in the destination the next byte goes. \pre begun, and a tensor is waiting.
  std::uint64_t next_offset() const noexcept;
  /// In place of writing the next tensor: its bytes lie in the destination already.
  /// Errors: as `write`.
  Status skip_tensor();
  /// Writes what stands behind the data: the file is complete, under its temporary name.
  /// Errors: kInvalidArgument where a tensor is incomplete.
  Status seal();
  /// Puts a text in place of the reserved blanks, of which the rest stays. \pre begun.
  /// Errors: kInvalidArgument where nothing was reserved; kLimit where the text is longer.
  Status fill_reserved(std::string_view text);
  /// Seals, and makes the file final. Errors: as `seal`.
  Status finish();

 private:
  struct Tensor {
    std::string name;
    std::uint64_t offset, bytes;
  };
  GgufWriter() = default;
  Status add_value(std::string_view key, GgufType type, std::string_view value);
  std::string head() const;

  std::unique_ptr<AtomicFile> file_;
  ByteSink* sink_ = nullptr;
  std::uint64_t alignment_ = 32;
  std::string metadata_, table_;
  std::vector<std::string> keys_;
  std::vector<Tensor> tensors_;
  std::uint64_t data_bytes_ = 0, data_start_ = 0;
  std::uint64_t reserved_at_ = 0, reserved_bytes_ = 0;  ///< In the file; 0: nothing is reserved.
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;  ///< Of the current tensor.
  bool begun_ = false;
};

}  // namespace quern::formats
