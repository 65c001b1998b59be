/// \file
/// Strings that know where each byte came from: the template (trusted) or its caller's data.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/jinja/heap.h"

namespace quern::text::jinja {

/// An immutable UTF-8 string with provenance. Thread rule: const access from any thread.
class Text {
 public:
  /// Bytes up to `end` (from the end of the run before) share one provenance.
  struct Run {
    std::size_t end;
    bool trusted;
  };

  Text(std::string bytes, std::vector<Run> runs, Charge charge);
  /// A string of one provenance, outside every budget: for constants of a template.
  Text(std::string bytes, bool trusted);

  const std::string& bytes() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return bytes_.size(); }
  /// Runs that cover the bytes, neighbours of different provenance; empty for an empty string.
  const std::vector<Run>& runs() const noexcept { return runs_; }
  /// \return the number of code points.
  std::size_t length() const noexcept { return length_; }
  /// \return the byte offset of code point `index`, or size() past the end.
  std::size_t offset_of(std::size_t index) const noexcept;
  /// \return whether the byte at `offset` stems from the template.
  bool trusted_at(std::size_t offset) const noexcept;
  /// \return whether every byte stems from the template.
  bool trusted() const noexcept;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
  std::size_t length_;
  Charge charge_;
};

using TextRef = std::shared_ptr<const Text>;

/// Builds a Text within a budget. An append that does not fit marks the builder as failed and is
/// dropped; `finish` then reports kLimit, so that callers append without checking each time.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap, std::size_t max_bytes = ~std::size_t{0})
      : heap_(&heap), max_bytes_(max_bytes) {}
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;
  ~TextBuilder() { heap_->release(charged_); }

  void append(std::string_view bytes, bool trusted);
  void append(const Text& text) { append(text, 0, text.size()); }
  /// Appends the bytes [begin, end) with their provenance.
  void append(const Text& text, std::size_t begin, std::size_t end);

  bool failed() const noexcept { return failed_; }
  std::size_t size() const noexcept { return bytes_.size(); }
  const std::string& bytes() const noexcept { return bytes_; }
  const std::vector<Text::Run>& runs() const noexcept { return runs_; }
  /// Hands the string over; the builder is empty afterwards.
  Result<TextRef> finish();
  /// \return the error of a failed builder.
  Error failure() const;

 private:
  Heap* heap_;
  std::size_t max_bytes_;
  std::size_t charged_ = 0;
  bool failed_ = false;
  std::string bytes_;
  std::vector<Text::Run> runs_;
};

}  // namespace quern::text::jinja
