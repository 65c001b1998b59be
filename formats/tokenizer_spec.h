/// \file
/// One tokenizer as a pipeline, whatever it was read from: tokenizer.json and GGUF metadata both
/// become this, and the image builder of lib/text/tokenizer compiles it.
/// Source of the components and their meaning: Hugging Face `tokenizers` 0.23.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace quern::formats {

/// What a token is, with GGUF's numbers.
enum class TokenType : std::uint8_t {
  kNone = 0,  ///< A hole in the numbering.
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

/// Every component of every stage. The numbers are written into images and never change.
enum class StepKind : std::uint16_t {
  // Normalizers: text to text.
  kNfc = 1,
  kNfd = 2,
  kNfkc = 3,
  kNfkd = 4,
  kLowercase = 5,
  kStripSpace = 6,       ///< flags kLeft, kRight
  kStripAccents = 7,     ///< Drops marks.
  kReplaceLiteral = 8,   ///< text -> content
  kReplaceRegex = 9,     ///< text (Oniguruma) -> content
  kPrepend = 10,         ///< text
  kBertNormalizer = 11,  ///< flags kCleanText, kChineseChars, kDropAccents, kLower
  kPrecompiled = 12,     ///< text: the character map; flag kLongestMatch (as SentencePiece itself)
  kNmt = 13,
  kByteAlphabet = 14,    ///< Bytes to the 256 visible characters of GPT-2.
  kCollapseSpaces = 15,  ///< U+0020 at the edges dropped, runs of it made one (SentencePiece).
  // Pre-tokenizers: pieces to more pieces.
  kByteLevel = 64,     ///< flags kPrefixSpace, kUseRegex
  kSplitLiteral = 65,  ///< text; number: SplitBehavior; flag kInvert
  kSplitRegex = 66,    ///< text; number: SplitBehavior; flag kInvert
  kWhitespace = 67,    ///< \w+|[^\w\s]+
  kWhitespaceSplit = 68,
  kBertPreTokenizer = 69,
  kPunctuation = 70,    ///< number: SplitBehavior
  kMetaspace = 71,      ///< text: replacement; number: PrependScheme; flag kSplit
  kDigits = 72,         ///< flag kIndividual
  kCharDelimiter = 73,  ///< text: one character
  kUnicodeScripts = 74,
  kFixedLength = 75,  ///< number: characters
  // Decoders: token texts to text.
  kDecodeByteLevel = 128,
  kDecodeMetaspace = 129,  ///< text: replacement; number: PrependScheme
  kDecodeWordPiece = 130,  ///< text: prefix; flag kCleanup
  kDecodeBpe = 131,        ///< text: suffix
  kDecodeByteFallback = 132,
  kDecodeFuse = 133,
  kDecodeStrip = 134,           ///< text: character; number: from the start; number2: from the end
  kDecodeReplaceLiteral = 135,  ///< text -> content
  kDecodeReplaceRegex = 136,    ///< text (Oniguruma) -> content
  kDecodeCtc = 137,             ///< text: pad token; content: word delimiter; flag kCleanup
};

/// Flags of a step; each kind uses its own subset.
namespace step_flag {
inline constexpr std::uint32_t kLeft = 1, kRight = 2;
inline constexpr std::uint32_t kCleanText = 1, kChineseChars = 2, kDropAccents = 4, kLower = 8;
inline constexpr std::uint32_t kPrefixSpace = 1, kUseRegex = 2;
inline constexpr std::uint32_t kInvert = 1;
inline constexpr std::uint32_t kSplit = 1;
inline constexpr std::uint32_t kIndividual = 1;
inline constexpr std::uint32_t kCleanup = 1;
inline constexpr std::uint32_t kLongestMatch = 1;
}  // namespace step_flag

enum class SplitBehavior : std::uint32_t {
  kRemoved = 0,
  kIsolated = 1,
  kMergedWithPrevious = 2,
  kMergedWithNext = 3,
  kContiguous = 4,
};
enum class PrependScheme : std::uint32_t { kFirst = 0, kNever = 1, kAlways = 2 };

/// One component of a stage; sequences are flattened.
struct TokenizerStep {
  StepKind kind = StepKind::kNfc;
  std::uint32_t flags = 0;
  std::uint32_t number = 0;
  std::uint32_t number2 = 0;
  std::string text;
  std::string content;
  bool operator==(const TokenizerStep&) const = default;
};

/// The models. The numbers are written into images.
enum class TokenizerModel : std::uint32_t {
  kBpeMerges = 1,  ///< Pairs in order of rank.
  kBpeScores = 2,  ///< SentencePiece BPE: the best score merges first, leftmost on a tie.
  kUnigram = 3,
  kWordPiece = 4,
  kWordLevel = 5,
};

namespace model_flag {
inline constexpr std::uint32_t kByteFallback = 1;
inline constexpr std::uint32_t kFuseUnknown = 2;
inline constexpr std::uint32_t kIgnoreMerges = 4;
/// WordPiece as GGUF writes it: U+2581 before word starts, nothing before continuations.
inline constexpr std::uint32_t kPhantomSpace = 8;
}  // namespace model_flag

/// A token that is cut out of the text before the model sees it.
struct AddedToken {
  std::int32_t id = -1;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

/// One row of the vocabulary. Rows of type kNone are holes. A row of type kUnused that is in a
/// unigram model takes part in the segmentation and becomes the unknown token.
struct TokenRow {
  std::string text;
  TokenType type = TokenType::kNone;
  bool in_model = false;          ///< The model may produce it from text…
  bool in_trusted_model = false;  ///< …or, a control token, from text that may hold such.
};

/// A merge. Ids are -1 where a part or the result is not in the vocabulary; the texts then keep
/// what was written, so that a GGUF's list can be written again.
struct Merge {
  std::int32_t left = -1;
  std::int32_t right = -1;
  std::int32_t result = -1;
  std::string unresolved;  ///< The written "a b", only where an id is missing.
};

/// Named ids, -1 where absent.
struct SpecialIds {
  std::int32_t bos = -1, eos = -1, unk = -1, pad = -1, sep = -1, cls = -1, mask = -1, eot = -1;
};

/// GGUF's own switches: -1 absent, else 0 or 1. Kept so that the metadata can be written again.
struct GgufFlags {
  std::int32_t add_bos = -1, add_eos = -1, add_sep = -1, add_space_prefix = -1,
               remove_extra_whitespaces = -1;
};

struct TokenizerSpec {
  std::vector<TokenizerStep> normalizers;
  std::vector<TokenizerStep> pre_tokenizers;
  std::vector<TokenizerStep> decoders;  ///< None: token texts joined by spaces.

  TokenizerModel model = TokenizerModel::kBpeMerges;
  std::uint32_t model_flags = 0;
  std::string continuing_prefix;
  std::string word_suffix;
  std::uint32_t max_word_chars = 100;  ///< WordPiece.
  /// The model's unknown token: an id, -1 none, -2 named but not in the vocabulary.
  std::int32_t model_unk = -1;

  std::vector<TokenRow> tokens;   ///< By id.
  std::vector<double> scores;     ///< Empty, or one per token.
  std::vector<Merge> merges;      ///< By rank.
  std::vector<AddedToken> added;  ///< In the order written.
  /// What `add_special` makes of a text: ids, and kTemplateText where the text's ids stand.
  std::vector<std::int32_t> post_template{kTemplateText};
  static constexpr std::int32_t kTemplateText = -1;

  SpecialIds ids;
  GgufFlags gguf_flags;
  std::string gguf_model;        ///< tokenizer.ggml.model, empty where there is no name for it.
  std::string gguf_pre;          ///< tokenizer.ggml.pre, may be empty.
  bool gguf_has_types = false;   ///< The GGUF had token types…
  bool gguf_has_scores = false;  ///< …and scores; others are never written into one.
};

}  // namespace quern::formats
