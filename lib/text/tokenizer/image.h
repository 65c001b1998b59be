/// \file
/// The compiled tokenizer: one flat little-endian block that is used where it lies.
///
/// Layout: a header of kHeaderBytes, then sections, each on an 8-byte boundary. All numbers are
/// little-endian. Nothing is unpacked when it is opened; what depends on the vocabulary's size is
/// checked where it is read, so a hostile image costs a wrong answer at most, never a wild access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::text {

using TokenId = std::int32_t;

namespace image {

inline constexpr char kMagic[8] = {'Q', 'R', 'N', 'T', 'O', 'K', '0', '1'};
inline constexpr std::size_t kHeaderBytes = 512;
inline constexpr std::uint32_t kMaxProbe = 1024;
inline constexpr std::uint32_t kMaxSteps = 1024;
inline constexpr std::uint32_t kMaxTemplate = 4096;
inline constexpr std::uint32_t kMaxTokenBytes = 64u << 10;

/// Sections, by their place in the header's table.
enum Section : std::uint32_t {
  kTokenOffsets,  ///< u32[n_tokens + 1] into kTokenBytes.
  kTokenBytes,
  kTokenFlags,   ///< u8[n_tokens]: type in the low 4 bits, then the flags below.
  kScores,       ///< f64[n_tokens], or empty.
  kVocabSlots,   ///< u32[2^k]: id + 1, 0 empty; open addressing over hash_bytes.
  kMerges,       ///< u32[3 * n_merges]: left, right, result; kNoId where unresolved.
  kMergeSlots,   ///< u32[2^k]: rank + 1, 0 empty; open addressing over hash_pair.
  kUnresolved,   ///< u32[3] each: rank, offset and length in kPool; ascending ranks.
  kNormalizers,  ///< Step records.
  kPreTokenizers,
  kDecoders,
  kTemplate,         ///< i32 each: an id, or -1 for the text.
  kAdded,            ///< Added-token records in the order written.
  kRawTrieEdges,     ///< Added tokens cut from the raw text. u64[2^k].
  kRawTrieValues,    ///< i32 per node: index in kAdded, or -1.
  kNormalTrieEdges,  ///< Added tokens cut from the normalized text.
  kNormalTrieValues,
  kPieceTrieEdges,  ///< Unigram's pieces; the values are ids.
  kPieceTrieValues,
  kByteIds,   ///< i32[256]: ids of the byte tokens, or -1.
  kAddedIds,  ///< u32 each: indices in kAdded, by ascending id.
  kPool,      ///< Strings of the records.
  kSectionCount,
};

// Header fields, as byte offsets.
inline constexpr std::size_t kAtVersion = 8, kAtTotal = 16, kAtModel = 24, kAtModelFlags = 28,
                             kAtModelUnk = 32, kAtMaxWordChars = 36, kAtTokens = 40, kAtMerges = 44,
                             kAtMaxTokenBytes = 48, kAtMaxProbe = 52, kAtUnkScore = 56, kAtIds = 64,
                             kAtGgufFlags = 96, kAtHas = 116, kAtStrings = 120, kAtSections = 160;
static_assert(kAtSections + 16 * kSectionCount <= kHeaderBytes);

// Strings of the header, by their place at kAtStrings (offset and length in kPool).
enum HeaderString : std::uint32_t {
  kContinuingPrefix,
  kWordSuffix,
  kGgufModel,
  kGgufPre,
  kStringCount,
};

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kStepBytes =
    32;  ///< u16 kind, u16 0, u32 flags, number, number2, 2 strings.
inline constexpr std::size_t kAddedBytes =
    24;  ///< i32 id, u32 flags, 2 strings: written, normalized.
inline constexpr std::uint32_t kNoId = 0xffffffffu;

// Flags of kTokenFlags.
inline constexpr std::uint8_t kTypeMask = 0x0f, kInModel = 0x10, kSpecial = 0x20, kIsAdded = 0x40;
/// In the model, but only for text that may hold control tokens.
inline constexpr std::uint8_t kInTrustedModel = 0x80;
// Flags of an added token.
inline constexpr std::uint32_t kSingleWord = 1, kLstrip = 2, kRstrip = 4, kNormalized = 8,
                               kAddedSpecial = 16;

std::uint64_t hash_bytes(std::string_view bytes) noexcept;
std::uint64_t hash_pair(std::uint32_t left, std::uint32_t right) noexcept;
/// Key of a trie edge: the node in the upper 24 bits, the byte in the lower 8.
inline std::uint32_t edge_key(std::uint32_t node, unsigned char byte) noexcept {
  return (node << 8) | byte;
}
inline constexpr std::uint32_t kMaxTrieNodes = 1u << 24;

}  // namespace image

/// Little-endian loads from anywhere.
template <class T>
T load_le(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  auto* bytes = reinterpret_cast<unsigned char*>(&value);
  for (std::size_t i = 0; i < sizeof value / 2; ++i)
    std::swap(bytes[i], bytes[sizeof value - 1 - i]);
#endif
  return value;
}

/// A section as an array whose every access is checked.
template <class T>
class ImageArray {
 public:
  ImageArray() = default;
  explicit ImageArray(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  std::size_t size() const noexcept { return bytes_.size() / sizeof(T); }
  /// Element `i`, or `fallback` beyond the end.
  T at(std::size_t i, T fallback) const noexcept {
    return i < size() ? load_le<T>(bytes_.data() + i * sizeof(T)) : fallback;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// A step as it lies in the image.
struct StepView {
  formats::StepKind kind{};
  std::uint32_t flags = 0, number = 0, number2 = 0;
  std::string_view text, content;
};

struct AddedView {
  TokenId id = -1;
  std::uint32_t flags = 0;
  std::string_view content;     ///< As written.
  std::string_view normalized;  ///< What is looked for in normalized text, and shown.
};

/// A byte trie in the image.
class TrieView {
 public:
  TrieView() = default;
  TrieView(std::span<const std::byte> edges, std::span<const std::byte> values,
           std::uint32_t max_probe) noexcept;
  bool empty() const noexcept { return values_.size() == 0; }
  /// \return the child of `node` along `byte`, or 0 (the root is nobody's child).
  std::uint32_t child(std::uint32_t node, unsigned char byte) const noexcept;
  /// \return the value that ends at `node`, or -1.
  std::int32_t value(std::uint32_t node) const noexcept { return values_.at(node, -1); }

 private:
  ImageArray<std::uint64_t> edges_;
  ImageArray<std::int32_t> values_;
  std::size_t mask_ = 0;
  std::uint32_t max_probe_ = 0;
};

/// The image behind checked accessors. Views the bytes. Thread rule: immutable.
class ImageView {
 public:
  /// Checks header, section bounds, step records and their strings: not what depends on the
  /// vocabulary's size. Errors: kTruncated, kMalformed, kUnsupported (version), kOutOfRange,
  /// kLimit.
  static Result<ImageView> open(std::span<const std::byte> bytes, std::string_view file);

  std::uint32_t n_tokens() const noexcept { return n_tokens_; }
  formats::TokenizerModel model() const noexcept { return model_; }
  bool has_flag(std::uint32_t flag) const noexcept { return (model_flags_ & flag) != 0; }
  std::uint32_t model_flags() const noexcept { return model_flags_; }
  std::int32_t model_unk() const noexcept { return model_unk_; }
  std::uint32_t max_word_chars() const noexcept { return max_word_chars_; }
  std::uint32_t max_token_bytes() const noexcept { return max_token_bytes_; }
  double unk_score() const noexcept { return unk_score_; }
  const formats::SpecialIds& ids() const noexcept { return ids_; }
  const formats::GgufFlags& gguf_flags() const noexcept { return gguf_flags_; }
  bool gguf_has_types() const noexcept { return gguf_has_types_; }
  bool gguf_has_scores() const noexcept { return gguf_has_scores_; }
  std::string_view header_string(image::HeaderString which) const noexcept {
    return strings_[which];
  }

  /// The bytes of a token, empty for a hole or no token.
  std::string_view token(TokenId id) const noexcept;
  std::uint8_t token_flags(TokenId id) const noexcept {
    return id < 0 ? 0 : token_flags_.at(static_cast<std::size_t>(id), 0);
  }
  bool has_scores() const noexcept { return scores_.size() != 0; }
  double score(TokenId id) const noexcept {
    return id < 0 ? 0 : scores_.at(static_cast<std::size_t>(id), 0);
  }
  /// \return a token with these bytes that has any of the flags `wanted` (0: any token), or -1.
  TokenId find(std::string_view bytes, std::uint8_t wanted) const noexcept;
  TokenId byte_id(unsigned char byte) const noexcept;

  std::uint32_t n_merges() const noexcept { return n_merges_; }
  struct MergeView {
    std::uint32_t left, right, result;
  };
  MergeView merge(std::uint32_t rank) const noexcept;
  /// \return the rank of the merge of two tokens, or kNoId.
  std::uint32_t find_merge(TokenId left, TokenId right) const noexcept;
  std::string_view unresolved_merge(std::uint32_t rank) const noexcept;

  std::size_t step_count(image::Section stage) const noexcept;
  StepView step(image::Section stage, std::size_t i) const noexcept;
  ImageArray<std::int32_t> post_template() const noexcept {
    return ImageArray<std::int32_t>(section(image::kTemplate));
  }
  std::size_t added_count() const noexcept {
    return section(image::kAdded).size() / image::kAddedBytes;
  }
  AddedView added(std::size_t i) const noexcept;
  /// \return the last added token with this id, by binary search.
  std::optional<AddedView> added_of(TokenId id) const noexcept;
  TrieView trie(image::Section edges) const noexcept;
  std::span<const std::byte> section(image::Section which) const noexcept {
    return sections_[which];
  }

 private:
  friend class ImageCheck;
  std::string_view pool(std::uint32_t offset, std::uint32_t bytes) const noexcept;

  std::span<const std::byte> sections_[image::kSectionCount];
  ImageArray<std::uint32_t> token_offsets_, vocab_slots_, merges_, merge_slots_, added_ids_;
  ImageArray<std::uint8_t> token_flags_;
  ImageArray<double> scores_;
  ImageArray<std::int32_t> byte_ids_;
  std::string_view strings_[image::kStringCount];
  formats::TokenizerModel model_{};
  std::uint32_t model_flags_ = 0, max_word_chars_ = 0, n_tokens_ = 0, n_merges_ = 0,
                max_token_bytes_ = 0, max_probe_ = 0;
  std::int32_t model_unk_ = -1;
  double unk_score_ = 0;
  formats::SpecialIds ids_;
  formats::GgufFlags gguf_flags_;
  bool gguf_has_types_ = false, gguf_has_scores_ = false;
};

}  // namespace quern::text
