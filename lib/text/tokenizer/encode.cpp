// Text to ids: added tokens, normalizers, pre-tokenizers, model, template.
#include <algorithm>

#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

constexpr std::size_t kMaxText = 1u << 30;

/// Which stretches of a text may hold control tokens.
class Trust {
 public:
  explicit Trust(bool all) : all_(all) {}
  explicit Trust(std::vector<ByteRange> trusted) : all_(false), trusted_(std::move(trusted)) {}

  bool covers(const ByteRange& range) const {
    if (all_) return true;
    const auto after =
        std::upper_bound(trusted_.begin(), trusted_.end(), range.begin,
                         [](std::size_t at, const ByteRange& r) { return at < r.begin; });
    return after != trusted_.begin() && range.end <= std::prev(after)->end;
  }
  bool covers_nothing() const { return !all_ && trusted_.empty(); }

 private:
  bool all_;
  std::vector<ByteRange> trusted_;  // Sorted, disjoint, not touching.
};

/// One call. Views the tokenizer.
class Encoding {
 public:
  Encoding(const Tokenizer::Impl& impl, std::string_view text, const Trust& trust)
      : impl_(impl), text_(text), trust_(trust) {}

  Result<std::vector<TokenId>> run(bool add_special) {
    const auto items = impl_.image.post_template();
    for (std::size_t i = 0; i < items.size(); ++i) {
      const TokenId id = items.at(i, -1);
      if (id >= 0) {
        if (add_special) ids_.push_back(id);
      } else {
        QUERN_CHECK(encode_text());
      }
    }
    return std::move(ids_);
  }

  const EncodeWork& work() const { return scratch_.work; }

 private:
  Status encode_text() {
    std::vector<AddedCut> cuts;
    impl_.raw_added.cut(
        text_, [this](const ByteRange& range) { return trust_.covers(range); }, cuts,
        scratch_.work);
    for (const AddedCut& cut : cuts) {
      if (cut.id >= 0) {
        ids_.push_back(cut.id);
      } else {
        QUERN_CHECK(encode_section(cut.range));
      }
    }
    return {};
  }

  /// Text between the tokens that are cut out as they are written.
  Status encode_section(const ByteRange& range) {
    std::string text(text_.substr(range.begin, range.end - range.begin));
    bool at_origin = range.begin == 0;
    QUERN_CHECK(run_normalizers(impl_.normalizers, text, at_origin));
    // Normalized text no longer says who wrote which part of it.
    const bool trusted = trust_.covers(range);
    scratch_.reach = image::kInModel | (trusted ? image::kInTrustedModel : std::uint8_t{0});
    std::vector<AddedCut> cuts;
    impl_.normal_added.cut(
        text, [trusted](const ByteRange&) { return trusted; }, cuts, scratch_.work);
    for (const AddedCut& cut : cuts) {
      if (cut.id >= 0) {
        ids_.push_back(cut.id);
        continue;
      }
      PieceText pieces;
      pieces.at_origin = at_origin && cut.range.begin == 0;
      if (cuts.size() == 1) {
        pieces.text = std::move(text);
      } else {
        pieces.text = text.substr(cut.range.begin, cut.range.end - cut.range.begin);
      }
      QUERN_CHECK(encode_pieces(pieces));
    }
    return {};
  }

  Status encode_pieces(PieceText& pieces) {
    if (pieces.text.empty()) return {};
    pieces.pieces.push_back({0, pieces.text.size()});
    for (const Step& step : impl_.pre_tokenizers) {
      QUERN_CHECK(find_pre_tokenizer(step.view.kind)(step, pieces));
    }
    for (const ByteRange& piece : pieces.pieces) {
      QUERN_CHECK(impl_.encode_piece(impl_.image, pieces.piece(piece), scratch_, ids_));
    }
    return {};
  }

  const Tokenizer::Impl& impl_;
  std::string_view text_;
  const Trust& trust_;
  ModelScratch scratch_;
  std::vector<TokenId> ids_;
};

Status check_text(std::string_view text) {
  if (text.size() <= kMaxText) return {};
  return Error(ErrorCode::kLimit, "the text is too long")
      .of("text")
      .want("at most 1073741824 bytes")
      .got(std::to_string(text.size()));
}

/// Spans of a text that replacing ill-formed bytes has moved.
std::vector<Tokenizer::Span> move_spans(std::string_view text,
                                        std::span<const Tokenizer::Span> spans) {
  std::vector<Tokenizer::Span> out(spans.begin(), spans.end());
  std::string clean;
  std::vector<std::size_t> ends;
  for (const auto& span : out) {
    ends.push_back(span.begin);
    ends.push_back(span.end);
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  std::vector<std::size_t> moved(ends.size());
  std::size_t next = 0;
  std::size_t grown = 0;  // Bytes written for what was passed.
  for (std::size_t at = 0; at <= text.size();) {
    while (next < ends.size() && ends[next] <= at) moved[next++] = grown;
    const Char c = decode_char(text, at);
    if (c.bytes == 0) break;
    grown += c.valid ? c.bytes : 3;
    at += c.bytes;
  }
  while (next < ends.size()) moved[next++] = grown;
  const auto place = [&](std::size_t at) {
    return moved[static_cast<std::size_t>(std::lower_bound(ends.begin(), ends.end(), at) -
                                          ends.begin())];
  };
  for (auto& span : out) span = {place(span.begin), place(span.end), span.trusted};
  return out;
}

/// The trusted stretches, sorted; what any untrusted span also covers is not trusted.
Trust trust_of(std::span<const Tokenizer::Span> spans) {
  std::vector<ByteRange> trusted, untrusted, out;
  for (const auto& span : spans) {
    if (span.begin < span.end)
      (span.trusted ? trusted : untrusted).push_back({span.begin, span.end});
  }
  const auto by_begin = [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; };
  std::sort(trusted.begin(), trusted.end(), by_begin);
  std::sort(untrusted.begin(), untrusted.end(), by_begin);
  std::size_t u = 0;
  for (const ByteRange& range : trusted) {
    std::size_t begin = range.begin;
    if (!out.empty()) begin = std::max(begin, out.back().end);
    while (u > 0 && untrusted[u - 1].end > begin) --u;
    for (; u < untrusted.size() && untrusted[u].begin < range.end; ++u) {
      if (untrusted[u].end <= begin) continue;
      if (begin < untrusted[u].begin) out.push_back({begin, untrusted[u].begin});
      begin = std::max(begin, untrusted[u].end);
    }
    if (begin >= range.end) continue;
    if (!out.empty() && out.back().end == begin) {
      out.back().end = range.end;
    } else {
      out.push_back({begin, range.end});
    }
  }
  return Trust(std::move(out));
}

}  // namespace

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text,
                                               const EncodeOptions& options) const {
  QUERN_CHECK(check_text(text));
  std::string clean;
  if (find_invalid(text) != std::string_view::npos) {
    append_lossy(clean, text);
    text = clean;
  }
  const Trust trust(options.parse_special);
  Encoding encoding(*impl_, text, trust);
  auto ids = encoding.run(options.add_special);
  if (options.work != nullptr) *options.work = encoding.work();
  return ids;
}

Result<std::vector<TokenId>> Tokenizer::encode_spans(std::string_view text,
                                                     std::span<const Span> spans,
                                                     bool add_special) const {
  QUERN_CHECK(check_text(text));
  for (const Span& span : spans) {
    if (span.begin > span.end || span.end > text.size()) {
      return Error(ErrorCode::kInvalidArgument, "a span lies outside its text")
          .of("spans")
          .want("at most " + std::to_string(text.size()))
          .got(std::to_string(span.begin) + " … " + std::to_string(span.end));
    }
  }
  std::string clean;
  std::vector<Span> moved(spans.begin(), spans.end());
  if (find_invalid(text) != std::string_view::npos) {
    moved = move_spans(text, spans);
    append_lossy(clean, text);
    text = clean;
  }
  const Trust trust = trust_of(moved);
  return Encoding(*impl_, text, trust).run(add_special);
}

}  // namespace quern::text
