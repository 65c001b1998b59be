/// \file
/// Files that the program writes itself: complete under their name, or not there at all.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"

namespace quern::cli {

/// A file written under a temporary name beside its target, synced and renamed by `commit`; without
/// it the destructor removes it. Move-only. Thread rule: one owner.
class OutputFile {
 public:
  /// Errors: kIo; kInvalidArgument for what exists and is no regular file, and for a model in use.
  static Result<OutputFile> create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  Status write(std::string_view bytes);
  Status write(std::span<const float> values);
  Status commit();

 private:
  OutputFile() = default;
  Error failed(const char* what) const;

  std::string path_, target_, temporary_;  ///< The target is the path behind symbolic links.
  std::FILE* file_ = nullptr;
};

/// Writes a whole file.
Status write_file(const std::string& path, std::string_view text);

/// One tensor of a safetensors file.
struct TensorHeader {
  std::string name, dtype;  ///< "F32", "I64".
  std::vector<std::uint64_t> shape;
};

/// \return length and JSON header of a safetensors file with `tensors` in this order.
std::string safetensors_header(const std::vector<TensorHeader>& tensors);

}  // namespace quern::cli
