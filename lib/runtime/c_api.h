/// \file
/// What the files of the C API share: handles, option structs across versions, the last error.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/guard.h"
#include "quern/conversation.h"
#include "quern/encoder.h"
#include "quern/quern.h"
#include "quern/session.h"

struct quern_model {
  quern::Model model;
  std::vector<quern_logit_bias> logit_bias;  ///< What the options of its sampling point into.
};
struct quern_session {
  quern::Session session;
};
struct quern_conversation {
  quern::Conversation conversation;
};
struct quern_cancel {
  std::atomic<bool> set{false};
};

namespace quern::runtime {

/// A handle of a model.
quern_model* new_model(Model model);

/// Stores the calling thread's last error. \return its code.
quern_code remember(Error error) noexcept;

/// Runs the inside of one C function (returning a Status) and remembers its failure.
template <class Work>
quern_code c_call(Work&& work) noexcept {
  try {
    Status status = base::guarded(std::forward<Work>(work));
    return status.ok() ? QUERN_OK : remember(std::move(status).error());
  } catch (...) {  // Not even the error could be allocated. This one has no words.
    Error wordless;
    wordless.code = ErrorCode::kOutOfMemory;
    return remember(std::move(wordless));
  }
}

/// \return kInvalidArgument naming `argument`, for a null pointer.
inline Error null_argument(const char* argument) {
  return Error(ErrorCode::kInvalidArgument, "a pointer is null").of(argument);
}

/// Refuses null text with a length; null without one is empty.
inline Result<std::string_view> view_argument(const char* data, std::size_t length,
                                              const char* argument) {
  if (data == nullptr && length != 0) return null_argument(argument);
  return std::string_view(data == nullptr ? "" : data, length);
}

/// Copies a caller's struct of any version over `into`, which holds the defaults.
template <class Options>
Status read_struct(const Options* given, const char* argument, Options& into) {
  if (given == nullptr) return {};
  if (given->size < sizeof(given->size) || given->size > 65536)
    return Error(ErrorCode::kInvalidArgument, "an options struct is not initialised").of(argument);
  std::memcpy(&into, given, std::min(given->size, sizeof(Options)));
  return {};
}

/// Whether a caller's struct, which is not null, says its size, of at least `least` bytes.
template <class Info>
Status check_struct(const char* argument, const Info* out, std::size_t least = sizeof(size_t)) {
  if (out->size < least || out->size > 65536)
    return Error(ErrorCode::kInvalidArgument, "a struct's size is not set").of(argument);
  return {};
}

/// Copies `values` to a caller's struct of any version, whose size stays as it is.
template <class Info>
Status write_struct(Info values, const char* argument, Info* out) {
  if (out == nullptr) return null_argument(argument);
  QUERN_CHECK(check_struct(argument, out));
  const std::size_t size = out->size;
  values.size = size;
  std::memcpy(out, &values, std::min(size, sizeof(Info)));
  return {};
}

/// Owned copies for the caller; released by quern_string_free and quern_tokens_free.
quern_string copy_string(std::string_view text);
quern_tokens copy_tokens(std::span<const TokenId> ids);

inline quern_view view_of(std::string_view text) { return {text.data(), text.size()}; }

/// The caller's options as the C++ API has them.
Result<SessionOptions> session_options(const quern_session_options* options);

}  // namespace quern::runtime
