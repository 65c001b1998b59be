/// \file
/// Finds stop strings in streamed text, however tokens cut it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern::runtime {

/// Text goes in piece by piece; what can no longer become part of a stop string comes out. The
/// outcome does not depend on how the text is cut: of several stop strings the one that is complete
/// first wins, the longest one where two end together. Thread rule: one thread.
class StopMatcher {
 public:
  /// \pre no stop string is empty.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// \return text that is safe to show; valid until the next call.
  std::string_view push(std::string_view piece);
  /// \return what is still held back, once no more text will come; empty after a stop.
  std::string_view finish();
  /// \return whether a stop string was completed; the text before it has been returned.
  bool stopped() const noexcept { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;   ///< A possible beginning of a stop string.
  std::string ready_;  ///< What the last call returned.
  bool stopped_ = false;
};

}  // namespace quern::runtime
