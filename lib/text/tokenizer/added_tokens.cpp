#include "text/tokenizer/added_tokens.h"

#include <algorithm>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {

AddedMatcher::AddedMatcher(const ImageView& image, image::Section edges)
    : image_(&image), trie_(image.trie(edges)) {
  for (unsigned b = 0; b < 256; ++b)
    begins_[b] = trie_.child(0, static_cast<unsigned char>(b)) != 0;
}

bool AddedMatcher::find(std::string_view text, std::size_t at, Match& match,
                        EncodeWork& work) const {
  for (; at < text.size(); ++at) {
    if (!begins_[static_cast<unsigned char>(text[at])]) continue;
    bool found = false;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size() && i - at < image::kMaxTokenBytes; ++i) {
      ++work.trie_steps;
      node = trie_.child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      const std::int32_t index = trie_.value(node);
      if (index < 0) continue;
      match = {{at, i + 1}, static_cast<std::size_t>(index)};
      found = true;
    }
    if (found) return true;
  }
  return false;
}

namespace {

std::size_t last_char_begin(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

}  // namespace

bool AddedMatcher::accept(const AddedView& token, std::string_view text, std::size_t done,
                          ByteRange& range) {
  if ((token.flags & image::kSingleWord) != 0) {
    const bool before =
        range.begin > 0 && is_word(decode_char(text, last_char_begin(text, range.begin)).code);
    const bool after = range.end < text.size() && is_word(decode_char(text, range.end).code);
    if (before || after) return false;
  }
  if ((token.flags & image::kLstrip) != 0) {
    std::size_t begin = range.begin;
    while (begin > done) {
      const std::size_t last = last_char_begin(text, begin);
      if (!is_space(decode_char(text, last).code)) break;
      begin = last;
    }
    range.begin = std::max(begin, done);
  }
  if ((token.flags & image::kRstrip) != 0) {
    while (range.end < text.size()) {
      const Char c = decode_char(text, range.end);
      if (!is_space(c.code)) break;
      range.end += c.bytes;
    }
  }
  return true;
}

}  // namespace quern::text
