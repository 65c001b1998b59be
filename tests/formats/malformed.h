/// \file
/// Judges what a reader makes of hostile bytes.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "formats/byte_reader.h"
#include "formats/gguf_reader.h"
#include "formats/quern_file.h"
#include "formats/safetensors_reader.h"
#include "support/allocation_probe.h"

namespace quern::testing {

/// A heap copy of exactly these bytes, 64-byte aligned, so that AddressSanitizer sees one byte too
/// far.
class ExactBytes {
 public:
  explicit ExactBytes(std::string_view text)
      : data_(static_cast<std::byte*>(::operator new (text.size(), std::align_val_t{64}))),
        size_(text.size()) {
    if (!text.empty()) std::memcpy(data_, text.data(), text.size());
  }
  ExactBytes(const ExactBytes&) = delete;
  ExactBytes& operator=(const ExactBytes&) = delete;
  ~ExactBytes() { ::operator delete (data_, std::align_val_t{64}); }
  std::span<const std::byte> span() const { return {data_, size_}; }

 private:
  std::byte* data_;
  std::size_t size_;
};

struct Verdict {
  bool accepted = false;
  Error error;
};

/// Reads every byte of a span, so that a bad view is seen.
inline unsigned touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte b : bytes) sum += std::to_integer<unsigned>(b);
  return sum;
}

inline void use(const formats::GgufFile& file) {
  volatile unsigned sum = 0;
  for (const auto& entry : file.entries()) {
    sum = sum + touch(entry.value);
    if (const auto strings = entry.array.strings()) {
      for (const auto text : *strings) sum = sum + touch(formats::as_bytes(text));
    }
    (void)entry.array.integers();
    (void)entry.array.floats();
  }
  for (const auto& tensor : file.tensors()) sum = sum + touch(tensor.data);
}
inline void use(const formats::SafetensorsFile& file) {
  volatile unsigned sum = 0;
  for (const auto& tensor : file.tensors()) sum = sum + touch(tensor.data);
}
inline void use(const formats::QuernFile& file) {
  volatile unsigned sum = 0;
  for (const auto& section : file.sections()) sum = sum + touch(section.bytes);
  for (const auto& tensor : file.tensors()) sum = sum + touch(tensor.data);
  (void)file.verify_checksums();
}

/// Opens `bytes` as File. Checks that an error says what, where and in which field, and that
/// nothing was allocated beyond a small multiple of the input. What is accepted is read entirely.
template <class File>
Verdict judge(std::string_view bytes) {
  const ExactBytes exact(bytes);
  const AllocationProbe probe;
  auto file = File::from_bytes(exact.span(), "hostile");
  const std::size_t most = 65536 + 16 * bytes.size();
  if (probe.largest() > most || probe.peak() > 2 * most) {
    FAIL_CHECK("allocated " << probe.largest() << " at once, " << probe.peak() << " in all");
  }
  Verdict verdict;
  verdict.accepted = file.ok();
  if (file.ok()) {
    use(*file);
    return verdict;
  }
  verdict.error = std::move(file).error();
  const Error& error = verdict.error;
  const bool complete = !error.message.empty() && error.file == "hostile" &&
                        error.offset.has_value() && !error.field.empty() &&
                        *error.offset <= bytes.size() && error.code != ErrorCode::kInternal;
  if (!complete) FAIL_CHECK("incomplete error: " << error.describe());
  return verdict;
}

}  // namespace quern::testing
