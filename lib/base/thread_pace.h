/// \file
/// How many threads a step should have on a machine that others use too.
#pragma once

#include <algorithm>
#include <chrono>

namespace quern::base {

/// Threads that meet at barriers run at the pace of the slowest. Where another process holds a core,
/// that one waits for a time slice (milliseconds) hundreds of times a second, and two threads are
/// slower than one. So a thread is given up where the others sleep away more of a step than its work
/// would cost them, and tried again after a rest that grows where that fails. Thread rule: one
/// thread.
class ThreadPace {
 public:
  using Time = std::chrono::nanoseconds;

  explicit ThreadPace(int threads) noexcept : most_(threads), now_(threads) {}

  /// Threads for the next step.
  int threads() const noexcept { return now_; }

  /// \param step how long the step took. \param slept how long all its threads together slept at
  /// barriers: all but one wait.
  void note(Time step, Time slept) noexcept {
    if (slept * now_ > step * (now_ - 1)) {
      rest_ = trying_ ? std::min(2 * rest_, kMostRest) : kLeastRest;
      rested_ = Time(0);
      trying_ = false;
      --now_;
      return;
    }
    rested_ += step;
    trying_ = now_ < most_ && rested_ >= rest_;
    if (!trying_) return;
    rested_ = Time(0);
    ++now_;
  }

 private:
  static constexpr Time kLeastRest = std::chrono::milliseconds(50);
  static constexpr Time kMostRest = std::chrono::seconds(2);

  int most_, now_;
  Time rest_ = kLeastRest;  ///< Time with fewer threads before one more is tried.
  Time rested_{0};
  bool trying_ = false;  ///< The last step had one thread more than the one before.
};

}  // namespace quern::base
