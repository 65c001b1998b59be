/// \file
/// Counting and failing allocations of the calling thread. This program's operator new.
#pragma once

#include <cstddef>

namespace quern::test {

/// Counts operator new on this thread while it lives; with `fail_at` > 0 the fail_at-th throws
/// std::bad_alloc, once. One at a time.
class AllocationFault {
 public:
  explicit AllocationFault(std::size_t fail_at = 0);
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;
  ~AllocationFault();
  std::size_t count() const;
  bool fired() const;
  /// Whether this program's operator new is ours: Clang's TSan runtime brings one of its own.
  static bool works();
};

}  // namespace quern::test
