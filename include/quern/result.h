/// \file
/// Typed errors: every call that the world can make fail returns `Result<T>` or `Status`.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace quern {

/// What kind of thing went wrong. The values are part of the C ABI (quern.h) and never change.
enum class ErrorCode : std::int32_t {
  kIo = 1,                ///< The operating system refused: open, read, write, map, sync, rename.
  kTruncated = 2,         ///< The bytes end before the structure that they announce.
  kMalformed = 3,         ///< The bytes contradict the format's specification.
  kUnsupported = 4,       ///< Well formed, but outside what quern implements; named in `found`.
  kOutOfRange = 5,        ///< A number outside the range that its field allows.
  kChecksum = 6,          ///< Stored and computed checksum differ.
  kMissing = 7,           ///< A tensor, key, file or capability that is needed is not there.
  kMismatch = 8,          ///< Two parts disagree: a shape against the configuration, a golden, …
  kLimit = 9,             ///< A resource limit (depth, steps, bytes, context) was reached.
  kInvalidArgument = 10,  ///< The caller passed something that the declaration forbids.
  kOutOfMemory = 11,      ///< An allocation failed.
  kCancelled = 12,        ///< The caller asked to stop.
  kTemplateRaised = 13,   ///< A chat template called raise_exception; its words are in `message`.
  kInternal = 14,         ///< A bug in quern; please report it.
};

/// \return the lower-case word of a code, e.g. "truncated"; a static string.
const char* error_code_name(ErrorCode code) noexcept;

/// One failure: a sentence, and where it lies. Fields that do not apply stay empty.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;                  ///< What is wrong, one sentence without a full stop.
  std::string file;                     ///< Path of the input, if one is concerned.
  std::optional<std::uint64_t> offset;  ///< Byte offset in `file`.
  std::string field;                    ///< Field, key, tensor or argument by name.
  std::string expected;                 ///< What would have been right.
  std::string found;                    ///< What was there; never raw user bytes unescaped.

  Error() = default;
  Error(ErrorCode c, std::string text) : code(c), message(std::move(text)) {}

  // Builders, so that an error is written in one expression where it arises.
  Error&& in_file(std::string path) && {
    file = std::move(path);
    return std::move(*this);
  }
  Error&& at(std::uint64_t byte_offset) && {
    offset = byte_offset;
    return std::move(*this);
  }
  Error&& of(std::string name) && {
    field = std::move(name);
    return std::move(*this);
  }
  Error&& want(std::string text) && {
    expected = std::move(text);
    return std::move(*this);
  }
  Error&& got(std::string text) && {
    found = std::move(text);
    return std::move(*this);
  }

  /// \return one sentence with every filled field, for a person.
  std::string describe() const;
};

/// A value or an `Error`. Movable; thread rule: as its T.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT
  Result(Error error)
      : state_(std::in_place_index<1>,  // NOLINT
               std::make_unique<Error>(std::move(error))) {}

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  /// \pre ok()
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  /// \pre !ok()
  Error& error() & { return **std::get_if<1>(&state_); }
  const Error& error() const& { return **std::get_if<1>(&state_); }
  Error&& error() && { return std::move(**std::get_if<1>(&state_)); }

 private:
  std::variant<T, std::unique_ptr<Error>> state_;
};

/// Success or an `Error`: `return {};` is success.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}  // NOLINT

  bool ok() const noexcept { return error_ == nullptr; }
  explicit operator bool() const noexcept { return ok(); }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::unique_ptr<Error> error_;
};

using Status = Result<void>;

}  // namespace quern

#define QUERN_CONCAT_INNER(a, b) a##b
#define QUERN_CONCAT(a, b) QUERN_CONCAT_INNER(a, b)

/// Evaluates a Result-valued expression; returns its error, or declares `var` with its value.
#define QUERN_TRY(var, expr) QUERN_TRY_INNER(QUERN_CONCAT(quern_try_, __LINE__), var, expr)
#define QUERN_TRY_INNER(tmp, var, expr)         \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  auto var = std::move(tmp).value()

/// Evaluates a Status-valued (or any Result-valued) expression for its error alone.
#define QUERN_CHECK(expr)                                           \
  do {                                                              \
    auto quern_status = (expr);                                     \
    if (!quern_status.ok()) return std::move(quern_status).error(); \
  } while (false)
