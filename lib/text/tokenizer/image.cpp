#include "text/tokenizer/image.h"

#include <algorithm>

namespace quern::text {

namespace image {

std::uint64_t hash_bytes(std::string_view bytes) noexcept {
  std::uint64_t h = 0xcbf29ce484222325u;  // FNV-1a, then mixed, since the low bits choose the slot.
  for (const char c : bytes) {
    h ^= static_cast<unsigned char>(c);
    h *= 0x100000001b3u;
  }
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

std::uint64_t hash_pair(std::uint32_t left, std::uint32_t right) noexcept {
  std::uint64_t h = (static_cast<std::uint64_t>(left) << 32) | right;
  h *= 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  return h ^ (h >> 32);
}

}  // namespace image

TrieView::TrieView(std::span<const std::byte> edges, std::span<const std::byte> values,
                   std::uint32_t max_probe) noexcept
    : edges_(edges), values_(values), max_probe_(max_probe) {
  mask_ = edges_.size() == 0 ? 0 : edges_.size() - 1;
}

std::uint32_t TrieView::child(std::uint32_t node, unsigned char byte) const noexcept {
  const std::uint32_t key = image::edge_key(node, byte);
  std::size_t slot = image::hash_pair(key, 0) & mask_;
  for (std::uint32_t probe = 0; probe <= max_probe_; ++probe) {
    const std::uint64_t edge = edges_.at(slot, 0);
    const auto child = static_cast<std::uint32_t>(edge >> 32);
    if (child == 0) return 0;
    if (static_cast<std::uint32_t>(edge) == key) return child < image::kMaxTrieNodes ? child : 0;
    slot = (slot + 1) & mask_;
  }
  return 0;
}

std::string_view ImageView::token(TokenId id) const noexcept {
  if (id < 0 || static_cast<std::uint32_t>(id) >= n_tokens_) return {};
  const auto i = static_cast<std::size_t>(id);
  const std::uint32_t begin = token_offsets_.at(i, 0), end = token_offsets_.at(i + 1, 0);
  const auto bytes = sections_[image::kTokenBytes];
  if (begin > end || end > bytes.size() || end - begin > image::kMaxTokenBytes) return {};
  return {reinterpret_cast<const char*>(bytes.data()) + begin, end - begin};
}

TokenId ImageView::find(std::string_view bytes, std::uint8_t wanted) const noexcept {
  if (vocab_slots_.size() == 0 || bytes.size() > max_token_bytes_) return -1;
  const std::size_t mask = vocab_slots_.size() - 1;
  std::size_t slot = image::hash_bytes(bytes) & mask;
  for (std::uint32_t probe = 0; probe <= max_probe_; ++probe) {
    const std::uint32_t stored = vocab_slots_.at(slot, 0);
    if (stored == 0 || stored > n_tokens_) return -1;
    const auto id = static_cast<TokenId>(stored - 1);
    if (token(id) == bytes && (wanted == 0 || (token_flags(id) & wanted) != 0)) return id;
    slot = (slot + 1) & mask;
  }
  return -1;
}

TokenId ImageView::byte_id(unsigned char byte) const noexcept {
  const std::int32_t id = byte_ids_.at(byte, -1);
  return id >= 0 && static_cast<std::uint32_t>(id) < n_tokens_ ? id : -1;
}

ImageView::MergeView ImageView::merge(std::uint32_t rank) const noexcept {
  const std::size_t i = std::size_t{rank} * 3;
  return {merges_.at(i, image::kNoId), merges_.at(i + 1, image::kNoId),
          merges_.at(i + 2, image::kNoId)};
}

std::uint32_t ImageView::find_merge(TokenId left, TokenId right) const noexcept {
  if (merge_slots_.size() == 0) return image::kNoId;
  const auto l = static_cast<std::uint32_t>(left), r = static_cast<std::uint32_t>(right);
  const std::size_t mask = merge_slots_.size() - 1;
  std::size_t slot = image::hash_pair(l, r) & mask;
  for (std::uint32_t probe = 0; probe <= max_probe_; ++probe) {
    const std::uint32_t stored = merge_slots_.at(slot, 0);
    if (stored == 0 || stored > n_merges_) return image::kNoId;
    const MergeView found = merge(stored - 1);
    if (found.left == l && found.right == r) {
      return found.result < n_tokens_ ? stored - 1 : image::kNoId;
    }
    slot = (slot + 1) & mask;
  }
  return image::kNoId;
}

std::string_view ImageView::pool(std::uint32_t offset, std::uint32_t bytes) const noexcept {
  const auto all = sections_[image::kPool];
  if (offset > all.size() || bytes > all.size() - offset) return {};
  return {reinterpret_cast<const char*>(all.data()) + offset, bytes};
}

std::string_view ImageView::unresolved_merge(std::uint32_t rank) const noexcept {
  const ImageArray<std::uint32_t> rows(sections_[image::kUnresolved]);
  std::size_t low = 0, high = rows.size() / 3;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (rows.at(middle * 3, image::kNoId) < rank) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (rows.at(low * 3, image::kNoId) != rank) return {};
  return pool(rows.at(low * 3 + 1, 0), rows.at(low * 3 + 2, 0));
}

std::size_t ImageView::step_count(image::Section stage) const noexcept {
  return sections_[stage].size() / image::kStepBytes;
}

StepView ImageView::step(image::Section stage, std::size_t i) const noexcept {
  StepView out;
  if (i >= step_count(stage)) return out;
  const std::byte* at = sections_[stage].data() + i * image::kStepBytes;
  out.kind = static_cast<formats::StepKind>(load_le<std::uint16_t>(at));
  out.flags = load_le<std::uint32_t>(at + 4);
  out.number = load_le<std::uint32_t>(at + 8);
  out.number2 = load_le<std::uint32_t>(at + 12);
  out.text = pool(load_le<std::uint32_t>(at + 16), load_le<std::uint32_t>(at + 20));
  out.content = pool(load_le<std::uint32_t>(at + 24), load_le<std::uint32_t>(at + 28));
  return out;
}

AddedView ImageView::added(std::size_t i) const noexcept {
  AddedView out;
  if (i >= added_count()) return out;
  const std::byte* at = sections_[image::kAdded].data() + i * image::kAddedBytes;
  out.id = load_le<std::int32_t>(at);
  if (out.id < 0 || static_cast<std::uint32_t>(out.id) >= n_tokens_) out.id = -1;
  out.flags = load_le<std::uint32_t>(at + 4);
  out.content = pool(load_le<std::uint32_t>(at + 8), load_le<std::uint32_t>(at + 12));
  out.normalized = pool(load_le<std::uint32_t>(at + 16), load_le<std::uint32_t>(at + 20));
  return out;
}

std::optional<AddedView> ImageView::added_of(TokenId id) const noexcept {
  std::size_t low = 0, high = added_ids_.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (added(added_ids_.at(middle, 0)).id <= id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return std::nullopt;
  const AddedView found = added(added_ids_.at(low - 1, 0));
  if (found.id != id || id < 0) return std::nullopt;
  return found;
}

TrieView ImageView::trie(image::Section edges) const noexcept {
  return TrieView(sections_[edges], sections_[edges + 1], max_probe_);
}

}  // namespace quern::text
