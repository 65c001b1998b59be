// SentencePiece's precompiled character map: a double array over UTF-8 bytes and a block of
// replacements. Form: u32 size of the array in bytes, the array (u32 units of darts-clone), strings
// that end in NUL.
#include "text/tokenizer/image.h"
#include "text/tokenizer/step.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

/// Clusters of this many bytes or more are looked up character by character.
constexpr std::size_t kLongCluster = 6;

class CharsMap {
 public:
  explicit CharsMap(std::string_view block) {
    const auto* bytes = reinterpret_cast<const std::byte*>(block.data());
    const std::size_t size = load_le<std::uint32_t>(bytes);
    units_ = ImageArray<std::uint32_t>({bytes + 4, size});
    strings_ = block.substr(4 + size);
  }

  /// \return whether a key of the map begins `key`; `with` is then the shortest one's replacement.
  bool find(std::string_view key, std::string_view& with) const {
    bool found = false;
    walk(key, [&](std::size_t, std::uint32_t at) {
      found = replacement(at, with);
      return false;
    });
    return found;
  }

  /// \return the length of the longest key that begins `text`, 0 where none does.
  std::size_t find_longest(std::string_view text, std::string_view& with) const {
    std::size_t longest = 0;
    walk(text, [&](std::size_t length, std::uint32_t at) {
      if (replacement(at, with)) longest = length;
      return true;
    });
    return longest;
  }

 private:
  /// Follows `key` and gives `take` the length and value of each key on the way, until it says no.
  template <class Take>
  void walk(std::string_view key, Take take) const {
    std::size_t node = offset(units_.at(0, 0));
    for (std::size_t i = 0; i < key.size(); ++i) {
      const auto byte = static_cast<unsigned char>(key[i]);
      if (byte == 0) return;
      node ^= byte;
      const std::uint32_t unit = units_.at(node, 0);
      if (node >= units_.size() || (unit & 0x800000ffu) != byte) return;
      node ^= offset(unit);
      if (((unit >> 8) & 1) != 0 && !take(i + 1, units_.at(node, 0) & 0x7fffffffu)) return;
    }
  }

  static std::size_t offset(std::uint32_t unit) noexcept {
    return static_cast<std::size_t>(unit >> 10) << ((unit & 0x200u) >> 6);
  }

  bool replacement(std::size_t at, std::string_view& with) const {
    if (at > strings_.size()) return false;
    const std::size_t end = strings_.find('\0', at);
    with = strings_.substr(at, end == std::string_view::npos ? end : end - at);
    return true;
  }

  ImageArray<std::uint32_t> units_;
  std::string_view strings_;
};

}  // namespace

bool is_charsmap(std::string_view charsmap) noexcept {
  if (charsmap.size() < 4) return false;
  const auto size = load_le<std::uint32_t>(reinterpret_cast<const std::byte*>(charsmap.data()));
  return size % 4 == 0 && size <= charsmap.size() - 4;
}

bool apply_charsmap(std::string_view charsmap, std::string_view text, std::string& out) {
  const CharsMap map(charsmap);
  bool changed = false;
  std::string_view with;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = grapheme_end(text, at);
    if (end - at < kLongCluster && map.find(text.substr(at, end - at), with)) {
      out.append(with);
      changed = true;
      at = end;
      continue;
    }
    while (at < end) {
      const std::size_t bytes = decode_char(text, at).bytes;
      const std::string_view character = text.substr(at, bytes);
      const bool found = map.find(character, with);
      out.append(found ? with : character);
      changed = changed || found;
      at += bytes;
    }
  }
  return changed;
}

bool apply_charsmap_longest(std::string_view charsmap, std::string_view text, std::string& out) {
  // A hostile trie could lead on for the whole text; no key of a real one is near this long.
  constexpr std::size_t kMaxKey = 256;
  const CharsMap map(charsmap);
  bool changed = false;
  std::string_view with;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = map.find_longest(text.substr(at, kMaxKey), with);
    if (length > 0) {
      out.append(with);
      changed = true;
      at += length;
    } else {
      const std::size_t bytes = decode_char(text, at).bytes;
      out.append(text.substr(at, bytes));
      at += bytes;
    }
  }
  return changed;
}

}  // namespace quern::text
