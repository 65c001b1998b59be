/// \file
/// Writes one safetensors file: header first, then tensor data streamed in order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/atomic_file.h"
#include "formats/safetensors_reader.h"
#include "quern/result.h"

namespace quern::formats {

/// Use: declare every tensor, `begin`, `write` in the declared order, `finish`. The same calls give
/// the same bytes. Thread rule: one owner.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::string& path);
  static Result<SafetensorsWriter> to_sink(ByteSink& sink);

  /// Both must be UTF-8. Errors: kInvalidArgument.
  Status add_metadata(std::string key, std::string value);
  /// Errors: kInvalidArgument (a name given twice, or `__metadata__`), kOutOfRange.
  Status declare_tensor(std::string name, const SafeDtype& dtype, std::vector<std::uint64_t> shape);
  Status begin();
  Status write(std::span<const std::byte> bytes);
  Status finish();

 private:
  struct Tensor {
    std::string name;
    std::string_view dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t offset, bytes;
  };
  SafetensorsWriter() = default;

  std::unique_ptr<AtomicFile> file_;
  ByteSink* sink_ = nullptr;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::vector<Tensor> tensors_;
  std::uint64_t data_bytes_ = 0, data_start_ = 0, written_ = 0;
  bool begun_ = false;
};

}  // namespace quern::formats
