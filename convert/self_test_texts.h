/// \file
/// The strings of every self-test.
#pragma once

#include <span>
#include <string_view>

namespace quern::convert {

/// About forty short texts: scripts, spaces, digits, code, marks, emoji, what looks like control
/// tokens. Adding one changes new files only; each file carries the strings that it was made with.
std::span<const std::string_view> self_test_texts() noexcept;

}  // namespace quern::convert
