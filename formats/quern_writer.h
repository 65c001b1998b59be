/// \file
/// Writes `.quern` containers, streaming (formats/FORMAT.md).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/atomic_file.h"
#include "formats/checksum.h"
#include "formats/quern_file.h"
#include "formats/quern_layout.h"
#include "quern/result.h"

namespace quern::formats {

/// Use: `set_section` for what is known, `declare_tensor` for every tensor in the order of use,
/// `begin`, `write` each tensor's bytes in that order (in pieces of any size), then, optionally,
/// `set_section` for what is known only now (report, self-test; they go behind the data), `finish`.
/// Memory: the index and the sections, never the data. The same calls give the same bytes.
/// Thread rule: one owner.
class QuernWriter {
 public:
  /// To a file that appears at `finish`. \param config_json required, an object, at most 16 MiB.
  static Result<QuernWriter> create(const std::string& path, std::string config_json);
  /// To any sink that outlives the writer, e.g. a MemorySink for `open_any`.
  static Result<QuernWriter> to_sink(ByteSink& sink, std::string config_json);

  /// Sets or replaces a section other than kConfig, kIndex, kData. A section that was written
  /// before `begin` cannot be replaced after it. Errors: kInvalidArgument, kLimit.
  Status set_section(Section kind, std::string_view bytes);
  Status set_section(Section kind, std::span<const std::byte> bytes);
  /// \param dims outermost first, 0 … 4. Errors: kInvalidArgument (name empty, used, longer than
  /// 512 bytes or not printable ASCII; encoding and layout that do not go together), kOutOfRange.
  Status declare_tensor(std::string_view name, Encoding encoding, Layout layout,
                        std::span<const std::uint64_t> dims);

  /// Bytes of the whole file with what is declared so far (for the dry run and the disk check).
  std::uint64_t total_bytes() const;

  /// Writes what precedes the data. Errors: kIo, kLimit (disk space; names needed and free bytes).
  Status begin();
  /// The next bytes of tensor data; a piece may not span two tensors.
  Status write(std::span<const std::byte> bytes);
  /// Bytes that the current tensor still wants; 0 when all are written.
  std::uint64_t wanted_bytes() const noexcept;
  /// Where in the destination the next byte goes. \pre begun, and a tensor is waiting.
  std::uint64_t next_offset() const noexcept;
  /// In place of writing the next tensor: its bytes lie in the destination already.
  /// \param checksum XXH64 of them, which the caller has checked. Errors: as `write`.
  Status skip_tensor(std::uint64_t checksum);

  /// Makes the destination a complete, readable container without committing it, so that it can be
  /// opened (`temporary_path()`, or the sink's bytes) and tested before late sections are added.
  Status seal();
  /// The temporary file; empty for a sink.
  std::string temporary_path() const;

  /// Seals and commits. \return the weights hash. Errors: kInvalidArgument where a tensor is
  /// incomplete; kIo.
  Result<std::uint64_t> finish();

 private:
  struct Tensor {
    std::string name;
    Encoding encoding;
    Layout layout;
    std::array<std::uint64_t, 4> dims;
    int n_dims;
    std::uint64_t offset, bytes, checksum;  ///< Offset in the data section.
  };
  struct Part {
    Section kind;
    std::string bytes;
    std::uint64_t checksum;
    bool late;  ///< Known only after the data: lies behind them. All late parts come last.
  };
  struct Places {
    std::vector<std::uint64_t> parts;  ///< Offset of each part.
    std::uint64_t index = 0, data = 0, body_bytes = 0;
  };
  QuernWriter() = default;
  static Result<QuernWriter> start(std::unique_ptr<AtomicFile> file, ByteSink* sink,
                                   std::string config_json);
  Places places() const;
  std::uint64_t index_bytes() const noexcept;
  std::string build_index() const;
  std::string build_front(const Places& places, std::uint64_t index_checksum) const;

  std::unique_ptr<AtomicFile> file_;
  ByteSink* sink_ = nullptr;
  std::vector<Part> parts_;
  std::vector<Tensor> tensors_;  ///< In the order of use.
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::uint64_t name_bytes_ = 0;
  std::uint64_t weights_hash_ = 0, data_offset_ = 0, data_bytes_ = 0;
  std::size_t current_ = 0;    ///< Tensor being written.
  std::uint64_t written_ = 0;  ///< Of the current tensor.
  Xxh64 hash_;                 ///< Of the current tensor.
  bool begun_ = false;
};

/// Replaces what the mutable tail of a `.quern` file overrides, in place, crash-safely (the old
/// tail stays readable until the new one is synced), without touching anything else; the weights
/// hash stays. Members absent in `tail` are no longer overridden. Errors: those of QuernFile::open,
/// kLimit, kIo.
Status rewrite_metadata_tail(const std::string& path, const QuernTail& tail);

}  // namespace quern::formats
