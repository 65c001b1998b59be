/// \file
/// Saved logits of an evaluation: a safetensors file with `targets` I64 [n] and `logits` F32
/// [n, vocab], in this order.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "quern/result.h"
#include "quern/sampling.h"

namespace quern::cli {

/// \return the bytes before the logits: header and targets.
std::string logits_file_head(std::span<const TokenId> targets, std::uint64_t vocab_size);

/// Reads saved logits row by row. Move-only.
class SavedLogits {
 public:
  /// Errors: kIo; kMalformed for a file of another make; kMismatch where it was made of other
  /// tokens or another vocabulary.
  static Result<SavedLogits> open(const std::string& path, std::span<const TokenId> targets,
                                  std::uint64_t vocab_size);
  /// \return the next row, valid until the next call. Errors: kTruncated.
  Result<std::span<const float>> next();

 private:
  SavedLogits() = default;
  std::string path_;
  std::ifstream file_;
  std::vector<float> row_;
};

}  // namespace quern::cli
