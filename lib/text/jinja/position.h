/// \file
/// Where in a template something stands.
#pragma once

#include <cstdint>
#include <string>

#include "quern/result.h"

namespace quern::text::jinja {

/// Line and column (in code points), both from 1.
struct Position {
  std::uint32_t line = 1;
  std::uint32_t column = 1;

  std::string describe() const {
    return "line " + std::to_string(line) + ", column " + std::to_string(column);
  }
};

/// Names the place in an error that does not name one yet.
inline Error locate(Error error, Position at) {
  if (error.field.empty()) error.field = at.describe();
  return error;
}

}  // namespace quern::text::jinja
