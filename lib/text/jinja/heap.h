/// \file
/// The byte budget of one render: every string, list and mapping is charged to it while it lives.
#pragma once

#include <cstddef>
#include <string>

#include "quern/result.h"

namespace quern::text::jinja {

/// Counts the bytes of all live values. Belongs to one render, hence to one thread.
class Heap {
 public:
  explicit Heap(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// \return false, and charges nothing, where the limit would be passed.
  bool charge(std::size_t bytes) noexcept {
    if (bytes > limit_bytes_ - live_bytes_) return false;
    live_bytes_ += bytes;
    return true;
  }
  void release(std::size_t bytes) noexcept { live_bytes_ -= bytes; }
  std::size_t free_bytes() const noexcept { return limit_bytes_ - live_bytes_; }
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }

  /// \return the typed error of an exhausted budget.
  Error exhausted() const {
    return Error(ErrorCode::kLimit, "the values of the template need too much memory")
        .want("at most " + std::to_string(limit_bytes_) + " bytes");
  }

 private:
  std::size_t limit_bytes_;
  std::size_t live_bytes_ = 0;
};

/// What a value charged; gives it back when the value dies. Constants of a parsed template have no
/// heap: they are shared between renders.
class Charge {
 public:
  Charge() = default;
  Charge(Heap* heap, std::size_t bytes) noexcept : heap_(heap), bytes_(bytes) {}
  Charge(Charge&& other) noexcept : heap_(other.heap_), bytes_(other.bytes_) {
    other.heap_ = nullptr;
  }
  Charge& operator=(Charge&& other) noexcept {
    if (heap_ != nullptr) heap_->release(bytes_);
    heap_ = other.heap_;
    bytes_ = other.bytes_;
    other.heap_ = nullptr;
    return *this;
  }
  ~Charge() {
    if (heap_ != nullptr) heap_->release(bytes_);
  }

 private:
  Heap* heap_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace quern::text::jinja
