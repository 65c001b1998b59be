#include "logits_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "input.h"
#include "output_file.h"

namespace quern::cli {

std::string logits_file_head(std::span<const TokenId> targets, std::uint64_t vocab_size) {
  std::string head = safetensors_header(
      {{"targets", "I64", {targets.size()}}, {"logits", "F32", {targets.size(), vocab_size}}});
  for (const TokenId target : targets)
    for (int i = 0; i < 8; ++i)
      head += static_cast<char>((static_cast<std::uint64_t>(target) >> (8 * i)) & 0xFFU);
  return head;
}

Result<SavedLogits> SavedLogits::open(const std::string& path, std::span<const TokenId> targets,
                                      std::uint64_t vocab_size) {
  SavedLogits saved;
  saved.path_ = path;
  errno = 0;
  saved.file_.open(path, std::ios::binary);
  if (!saved.file_)
    return Error(ErrorCode::kIo, std::string("cannot be opened: ") + std::strerror(errno))
        .in_file(path);
  // What this evaluation would write must be what is there: one comparison checks form, vocabulary
  // and every token.
  const std::string wanted = logits_file_head(targets, vocab_size);
  std::string found(wanted.size(), '\0');
  saved.file_.read(found.data(), static_cast<std::streamsize>(found.size()));
  found.resize(static_cast<std::size_t>(saved.file_.gcount()));
  if (found != wanted) {
    const bool ours = found.find("\"targets\"") != std::string::npos;
    return Error(ours ? ErrorCode::kMismatch : ErrorCode::kMalformed,
                 ours ? "the saved logits are of other tokens, windows or another vocabulary"
                      : "this file was not written by eval perplexity --save-logits")
        .in_file(path)
        .want("logits of the same " + std::to_string(targets.size()) + " tokens, each of " +
              std::to_string(vocab_size));
  }
  saved.row_.resize(static_cast<std::size_t>(vocab_size));
  return saved;
}

Result<std::span<const float>> SavedLogits::next() {
  const auto bytes = static_cast<std::streamsize>(row_.size() * sizeof(float));
  file_.read(reinterpret_cast<char*>(row_.data()), bytes);
  if (file_.gcount() != bytes)
    return Error(ErrorCode::kTruncated, "the saved logits end early")
        .in_file(path_)
        .want(std::to_string(bytes) + " bytes of the next token's")
        .got(std::to_string(file_.gcount()));
  return std::span<const float>(row_);
}

}  // namespace quern::cli
