/// \file
/// The `.quern` container, read in place (formats/FORMAT.md). Opening costs work in proportion to
/// the number of tensors, never to their size.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/mapped_file.h"
#include "formats/quern_layout.h"
#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::formats {

/// One tensor of a container. `data` is 64-byte aligned and exactly as long as encoding, layout and
/// dims say.
struct TensorEntry {
  std::string_view name;
  Encoding encoding = Encoding::kF32;
  Layout layout = Layout::kPlain;
  std::array<std::uint64_t, 4> dims{};  ///< Outermost first; unused ones 0.
  int n_dims = 0;
  std::uint64_t offset = 0;    ///< Absolute in the file.
  std::uint64_t checksum = 0;  ///< XXH64 of `data`, as stored.
  std::span<const std::byte> data;

  /// The last dimension (1 for a scalar), and the product of all before it.
  std::uint64_t cols() const noexcept;
  std::uint64_t rows() const noexcept;
};

/// One section as the table lists it.
struct SectionEntry {
  std::uint32_t kind = 0;  ///< A `Section`, or an unknown optional kind.
  std::uint64_t offset = 0;
  std::uint64_t checksum = 0;
  std::span<const std::byte> bytes;
};

/// What the mutable tail overrides; absent members leave the file's own.
struct QuernTail {
  std::optional<std::string> chat_template;
  std::optional<std::string> generation_json;
  std::optional<std::string> metadata_json;  ///< An object of free keys (name, description, …).
};

/// Told the bytes done and in all; returns false to stop.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// An open container. Move-only; the views point into the mapping and stay valid when it is moved.
/// Thread rule: immutable after `open`.
class QuernFile {
 public:
  /// Maps and validates header, section table, tensor index, configuration, template and tail.
  /// Errors name file, offset and field: kMalformed, kTruncated, kChecksum, kOutOfRange,
  /// kUnsupported (version, feature, required section, encoding), kLimit, kIo.
  static Result<QuernFile> open(const std::string& path);
  /// The same over an image in memory.
  static Result<QuernFile> from_image(MemoryImage image, std::string name);
  /// The same over bytes that outlive the object. \pre 64-byte aligned; kInvalidArgument otherwise.
  static Result<QuernFile> from_bytes(std::span<const std::byte> bytes, std::string name);

  const std::string& path() const noexcept { return path_; }
  std::uint64_t file_bytes() const noexcept { return bytes_.size(); }
  /// The whole container, alive as long as this or what it was made of.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// Bytes before the mutable tail.
  std::uint64_t body_bytes() const noexcept { return body_bytes_; }

  std::string_view config_json() const noexcept;
  /// Ready-to-use tokenizer; empty where the file has none. Its checksum is checked by `verify`.
  std::span<const std::byte> tokenizer() const noexcept { return section(Section::kTokenizer); }
  /// The template, or the tail's override; empty where there is none.
  std::string_view chat_template() const noexcept;
  /// JSON; empty where there is none.
  std::string_view generation_json() const noexcept;
  std::string_view report_json() const noexcept;
  std::span<const std::byte> self_test() const noexcept { return section(Section::kSelfTest); }
  /// The tail's free metadata; empty where there is none.
  std::string_view metadata_json() const noexcept;
  const QuernTail& tail() const noexcept { return tail_; }

  /// A section's bytes; empty where the file lacks it.
  std::span<const std::byte> section(Section kind) const noexcept;
  std::span<const SectionEntry> sections() const noexcept { return sections_; }

  /// Sorted by name.
  std::span<const TensorEntry> tensors() const noexcept { return tensors_; }
  /// \return nullptr where there is none.
  const TensorEntry* find(std::string_view name) const noexcept;

  /// Tells the system that a tensor's pages are not needed soon; of an image in memory nothing is.
  void release(const TensorEntry& tensor) const noexcept { mapped_.release(tensor.data); }

  /// Identifies names, encodings, layouts, shapes and contents of all tensors; the tail does not
  /// enter. Not cryptographic.
  std::uint64_t weights_hash() const noexcept { return weights_hash_; }

  /// Reads every byte: the checksum of each section and tensor, zero padding between tensors.
  /// Errors: kChecksum or kMalformed naming the first one that is wrong; kCancelled.
  Status verify_checksums(const Progress& progress = {}) const;

 private:
  friend class QuernParser;  // formats/quern_parser.h
  QuernFile() = default;
  static Result<QuernFile> parse(QuernFile file);

  MappedFile mapped_;
  MemoryImage image_;
  std::string path_;
  std::span<const std::byte> bytes_;
  std::vector<SectionEntry> sections_;  ///< By offset.
  std::vector<TensorEntry> tensors_;    ///< By name.
  QuernTail tail_;
  std::uint64_t weights_hash_ = 0, body_bytes_ = 0;
};

}  // namespace quern::formats
