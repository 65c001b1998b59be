/// \file
/// Counts what a call allocates. The test program that uses it must link
/// support/allocation_probe.cpp, which replaces operator new.
#pragma once

#include <cstddef>

namespace quern::testing {

/// Allocations of this thread since construction. One probe at a time.
class AllocationProbe {
 public:
  AllocationProbe();
  std::size_t largest() const;  ///< Bytes of the largest single allocation.
  std::size_t peak() const;     ///< Most bytes held at once beyond those at the start.
  std::size_t count() const;    ///< Number of allocations.
};

}  // namespace quern::testing
