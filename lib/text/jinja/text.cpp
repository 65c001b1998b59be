#include "text/jinja/text.h"

#include <algorithm>

#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

std::size_t run_index(const std::vector<Text::Run>& runs, std::size_t offset) {
  const auto after = [](std::size_t at, const Text::Run& run) { return at < run.end; };
  return static_cast<std::size_t>(std::upper_bound(runs.begin(), runs.end(), offset, after) -
                                  runs.begin());
}

}  // namespace

Text::Text(std::string bytes, std::vector<Run> runs, Charge charge)
    : bytes_(std::move(bytes)),
      runs_(std::move(runs)),
      length_(count_code_points(bytes_)),
      charge_(std::move(charge)) {}

Text::Text(std::string bytes, bool trusted)
    : bytes_(std::move(bytes)), length_(count_code_points(bytes_)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), trusted});
}

std::size_t Text::offset_of(std::size_t index) const noexcept {
  if (index >= length_) return bytes_.size();
  if (length_ == bytes_.size()) return index;
  std::size_t at = 0;
  for (; index > 0; --index) at += sequence_length(bytes_, at);
  return at;
}

bool Text::trusted_at(std::size_t offset) const noexcept {
  const std::size_t run = run_index(runs_, offset);
  return run < runs_.size() && runs_[run].trusted;
}

bool Text::trusted() const noexcept {
  return std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.trusted; });
}

void TextBuilder::append(std::string_view bytes, bool trusted) {
  if (bytes.empty() || failed_) return;
  const bool new_run = runs_.empty() || runs_.back().trusted != trusted;
  const std::size_t cost = bytes.size() + (new_run ? sizeof(Text::Run) : 0);
  if (bytes.size() > max_bytes_ - bytes_.size() || !heap_->charge(cost)) {
    failed_ = true;
    return;
  }
  charged_ += cost;
  bytes_.append(bytes);
  if (new_run) {
    runs_.push_back({bytes_.size(), trusted});
  } else {
    runs_.back().end = bytes_.size();
  }
}

void TextBuilder::append(const Text& text, std::size_t begin, std::size_t end) {
  const std::string_view bytes = text.bytes();
  for (std::size_t run = run_index(text.runs(), begin); begin < end && !failed_; ++run) {
    const std::size_t stop = std::min(end, text.runs()[run].end);
    append(bytes.substr(begin, stop - begin), text.runs()[run].trusted);
    begin = stop;
  }
}

Error TextBuilder::failure() const {
  if (max_bytes_ != ~std::size_t{0} && heap_->free_bytes() > 0) {
    return Error(ErrorCode::kLimit, "the rendered text is too long")
        .want("at most " + std::to_string(max_bytes_) + " bytes");
  }
  return heap_->exhausted();
}

Result<TextRef> TextBuilder::finish() {
  if (!failed_ && !heap_->charge(sizeof(Text))) failed_ = true;
  if (failed_) return failure();
  Charge charge(heap_, charged_ + sizeof(Text));
  charged_ = 0;
  auto text = std::make_shared<const Text>(std::move(bytes_), std::move(runs_), std::move(charge));
  bytes_.clear();
  runs_.clear();
  return TextRef(std::move(text));
}

}  // namespace quern::text::jinja
