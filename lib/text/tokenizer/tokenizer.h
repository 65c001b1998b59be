/// \file
/// A tokenizer that works where its image lies: text to ids and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/tokenizer/image.h"
#include "text/tokenizer/model.h"

namespace quern::text {

struct EncodeOptions {
  bool add_special = true;     ///< BOS, EOS, CLS, SEP as the vocabulary asks.
  bool parse_special = true;   ///< Control tokens written in the text become their ids.
  EncodeWork* work = nullptr;  ///< Where to add what was done; for tests.
};

/// Immutable. Thread rule: all members may be called from many threads at once.
class Tokenizer {
 public:
  /// Views `image`, which must outlive the object. No work in proportion to the vocabulary.
  /// Errors: those of ImageView::open; kMalformed for a pattern that does not compile; kUnsupported
  /// where the tokenizer needs PCRE2 or utf8proc and quern was built without.
  static Result<Tokenizer> open(std::span<const std::byte> image, std::string_view file);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Text to ids. Ill-formed UTF-8 counts as U+FFFD. Time is O(n log n) of the text.
  /// Errors: kLimit (more than 1 GiB of text), kMissing (no unknown token where one is needed).
  Result<std::vector<TokenId>> encode(std::string_view text,
                                      const EncodeOptions& options = {}) const;

  /// A stretch of a prompt by who wrote it. What no span covers is not trusted.
  struct Span {
    std::size_t begin = 0, end = 0;  ///< Bytes.
    bool trusted = false;
  };
  /// Encodes one prompt of several authors as one text, except that a control token is recognised
  /// only where it lies in trusted text as a whole. Errors: as `encode`; kInvalidArgument (a span
  /// outside the text).
  Result<std::vector<TokenId>> encode_spans(std::string_view text, std::span<const Span> spans,
                                            bool add_special) const;

  /// Ids to text; ids that are no token are left out, bytes that are no UTF-8 become U+FFFD.
  std::string decode(std::span<const TokenId> ids, bool skip_special = true) const;

  std::size_t vocab_size() const noexcept;
  // Ids, -1 where the vocabulary has none.
  TokenId bos() const noexcept;
  TokenId eos() const noexcept;
  TokenId unk() const noexcept;
  TokenId pad() const noexcept;
  TokenId sep() const noexcept;
  TokenId cls() const noexcept;
  TokenId mask() const noexcept;
  TokenId eot() const noexcept;
  /// Whether `add_special` puts the id in front of, or behind, a text.
  bool add_bos() const noexcept;
  bool add_eos() const noexcept;
  /// Control tokens: not shown by `decode` unless asked.
  bool is_special(TokenId id) const noexcept;
  formats::TokenType token_type(TokenId id) const noexcept;
  /// The piece as the vocabulary writes it (byte-level text, U+2581 and `<0xNN>` unresolved).
  std::string_view token_bytes(TokenId id) const noexcept;
  /// \return the id of a piece as the vocabulary writes it; added tokens come first.
  std::optional<TokenId> find(std::string_view piece) const noexcept;

  /// The image behind it, for writing the vocabulary out again.
  const ImageView& image() const noexcept;

  struct Impl;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// Decoding while ids arrive: never gives part of a character, and all that it gives together is
/// what `Tokenizer::decode` makes of all ids. Views the tokenizer. Thread rule: one thread.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  /// \return the text that is certain now.
  std::string push(TokenId id);
  /// \return the rest; the next id begins a new text.
  std::string flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quern::text
