// The pre-tokenizers, one row of the table each.
#include <algorithm>

#include "text/tokenizer/split.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/unicode_delta.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

using formats::PrependScheme;
using formats::SplitBehavior;
using formats::StepKind;
namespace flag = formats::step_flag;

/// Splits at single characters that `is` accepts.
template <class Is>
Status split_chars(PieceText& text, SplitBehavior behavior, Is is) {
  return split_pieces(text, behavior, false, [is](std::string_view piece, auto& matches) -> Status {
    for (std::size_t at = 0; at < piece.size();) {
      const Char c = decode_char(piece, at);
      if (is(c.code)) matches.push_back({at, at + c.bytes});
      at += c.bytes;
    }
    return {};
  });
}

/// Rewrites every piece: `put(out, piece, is_first)` appends what it becomes.
template <class Put>
void rewrite_pieces(PieceText& text, Put put) {
  std::string out;
  out.reserve(text.text.size() + text.text.size() / 4);
  // A first piece that does not begin the text must not look as if it did afterwards.
  if (!text.pieces.empty() && text.pieces[0].begin != 0) text.at_origin = false;
  for (ByteRange& piece : text.pieces) {
    const std::size_t begin = out.size();
    put(out, text.piece(piece), piece.begin == 0);
    piece = {begin, out.size()};
  }
  text.text = std::move(out);
}

SplitBehavior behavior_of(const Step& step) { return static_cast<SplitBehavior>(step.view.number); }

Status byte_level(const Step& step, PieceText& text) {
  if ((step.view.flags & flag::kPrefixSpace) != 0) {
    rewrite_pieces(text, [](std::string& out, std::string_view piece, bool) {
      if (piece.front() != ' ') out.push_back(' ');
      out.append(piece);
    });
  }
  if (step.regex.has_value()) {
    QUERN_CHECK(split_pieces(text, SplitBehavior::kIsolated, false,
                             [&step](std::string_view piece, auto& matches) {
                               return step.regex->find_all(piece, matches);
                             }));
  }
  rewrite_pieces(text, [](std::string& out, std::string_view piece, bool) {
    for (const char c : piece) append_char(out, visible_of_byte(static_cast<unsigned char>(c)));
  });
  return {};
}

Status split(const Step& step, PieceText& text) {
  const bool invert = (step.view.flags & flag::kInvert) != 0;
  return split_pieces(text, behavior_of(step), invert,
                      [&step](std::string_view piece, auto& matches) -> Status {
                        if (step.regex.has_value()) return step.regex->find_all(piece, matches);
                        find_literal(piece, step.view.text, matches);
                        return {};
                      });
}

/// `\w+|[^\w\s]+`, everything else removed.
Status whitespace(const Step&, PieceText& text) {
  return split_pieces(text, SplitBehavior::kRemoved, true,
                      [](std::string_view piece, auto& matches) -> Status {
                        int previous = 0;  // 0 white space, 1 word, 2 other.
                        for (std::size_t at = 0; at < piece.size();) {
                          const Char c = decode_char(piece, at);
                          const int kind = is_word(c.code) ? 1 : is_space(c.code) ? 0 : 2;
                          if (kind != 0 && kind == previous) {
                            matches.back().end = at + c.bytes;
                          } else if (kind != 0) {
                            matches.push_back({at, at + c.bytes});
                          }
                          previous = kind;
                          at += c.bytes;
                        }
                        return {};
                      });
}

Status whitespace_split(const Step&, PieceText& text) {
  return split_chars(text, SplitBehavior::kRemoved, is_space);
}

Status bert(const Step&, PieceText& text) {
  QUERN_CHECK(split_chars(text, SplitBehavior::kRemoved, is_space));
  return split_chars(text, SplitBehavior::kIsolated, is_punctuation);
}

Status punctuation(const Step& step, PieceText& text) {
  return split_chars(text, behavior_of(step), is_punctuation);
}

Status digits(const Step& step, PieceText& text) {
  const bool individual = (step.view.flags & flag::kIndividual) != 0;
  return split_chars(text, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                     is_number);
}

Status char_delimiter(const Step& step, PieceText& text) {
  const char32_t delimiter = decode_char(step.view.text, 0).code;
  return split_chars(text, SplitBehavior::kRemoved,
                     [delimiter](char32_t c) { return c == delimiter; });
}

Status metaspace(const Step& step, PieceText& text) {
  const std::string_view mark = step.view.text;
  const auto scheme = static_cast<PrependScheme>(step.view.number);
  rewrite_pieces(text, [&](std::string& out, std::string_view piece, bool is_first) {
    const bool has_mark = piece.front() == ' ' || piece.substr(0, mark.size()) == mark;
    const bool wanted = scheme == PrependScheme::kAlways ||
                        (scheme == PrependScheme::kFirst && is_first && text.at_origin);
    if (wanted && !has_mark) out.append(mark);
    for (const char c : piece) {
      if (c == ' ') {
        out.append(mark);
      } else {
        out.push_back(c);
      }
    }
  });
  if ((step.view.flags & flag::kSplit) == 0) return {};
  return split_pieces(text, SplitBehavior::kMergedWithNext, false,
                      [mark](std::string_view piece, auto& matches) -> Status {
                        find_literal(piece, mark, matches);
                        return {};
                      });
}

/// \return where the first character of a run is that has its script to the library.
std::size_t scripted_begin(std::string_view piece, const ByteRange& run) {
  std::size_t at = run.begin;
  while (at < run.end) {
    const Char c = decode_char(piece, at);
    if (!is_without_library_script(c.code)) break;
    at += c.bytes;
  }
  return std::min(at, run.end);
}

/// Cuts where the script changes. A space belongs to what is before it; leading characters without
/// a script are lost, as the library loses them.
Status unicode_scripts(const Step& step, PieceText& text) {
  std::vector<ByteRange> pieces;
  std::vector<Regex::Marked> runs;
  for (const ByteRange& piece : text.pieces) {
    runs.clear();
    QUERN_CHECK(step.regex->find_marked(text.piece(piece), runs));
    std::string_view last;
    std::size_t open = 0;
    bool is_open = false;
    for (const Regex::Marked& run : runs) {
      const std::size_t begin = scripted_begin(text.piece(piece), run.range);
      if (begin == run.range.end || (is_open && run.mark == last)) continue;
      if (is_open) pieces.push_back({piece.begin + open, piece.begin + begin});
      open = begin;
      is_open = true;
      last = run.mark;
    }
    if (is_open) pieces.push_back({piece.begin + open, piece.end});
  }
  text.pieces = std::move(pieces);
  return {};
}

Status fixed_length(const Step& step, PieceText& text) {
  std::vector<ByteRange> pieces;
  for (const ByteRange& piece : text.pieces) {
    const std::string_view all = text.piece(piece);
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t begin = at;
      for (std::uint32_t n = 0; n < step.view.number && at < all.size(); ++n) {
        at += decode_char(all, at).bytes;
      }
      pieces.push_back({piece.begin + begin, piece.begin + at});
    }
  }
  text.pieces = std::move(pieces);
  return {};
}

constexpr struct {
  StepKind kind;
  PreTokenizeFn run;
} kPreTokenizers[] = {
    {StepKind::kByteLevel, byte_level},
    {StepKind::kSplitLiteral, split},
    {StepKind::kSplitRegex, split},
    {StepKind::kWhitespace, whitespace},
    {StepKind::kWhitespaceSplit, whitespace_split},
    {StepKind::kBertPreTokenizer, bert},
    {StepKind::kPunctuation, punctuation},
    {StepKind::kMetaspace, metaspace},
    {StepKind::kDigits, digits},
    {StepKind::kCharDelimiter, char_delimiter},
    {StepKind::kUnicodeScripts, unicode_scripts},
    {StepKind::kFixedLength, fixed_length},
};

}  // namespace

PreTokenizeFn find_pre_tokenizer(StepKind kind) noexcept {
  for (const auto& row : kPreTokenizers) {
    if (row.kind == kind) return row.run;
  }
  return nullptr;
}

}  // namespace quern::text
