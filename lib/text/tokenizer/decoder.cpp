#include "text/tokenizer/decoder.h"

#include "formats/tokenizer_json.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {

using formats::StepKind;
namespace flag = formats::step_flag;
using Stage = DecodeChain::Stage;

namespace {

/// SentencePiece-free English clean-up of the WordPiece and CTC decoders.
std::string clean_up(std::string text) {
  static constexpr struct {
    std::string_view from, to;
  } kRules[] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& rule : kRules) {
    if (text.find(rule.from) != std::string::npos) text = replace_literal(text, rule.from, rule.to);
  }
  return text;
}

bool begins_with(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

}  // namespace

/// The decoders: `take` handles one token, `end` what is held when no more come.
struct DecodeStages {
  using Take = void (*)(DecodeChain&, std::size_t, std::string_view, std::string&);
  using End = void (*)(DecodeChain&, std::size_t, std::string&);

  static Stage& at(DecodeChain& chain, std::size_t i) { return chain.stages_[i]; }
  static void pass(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    chain.give(i + 1, token, out);
  }
  static void nothing(DecodeChain&, std::size_t, std::string&) {}

  static void byte_level(DecodeChain& chain, std::size_t i, std::string_view token,
                         std::string& out) {
    std::string bytes;
    bytes.reserve(token.size());
    for (std::size_t k = 0; k < token.size();) {
      const Char c = decode_char(token, k);
      const int byte = c.valid ? byte_of_visible(c.code) : -1;
      if (byte < 0) {  // One foreign character and the token stands as it is.
        bytes = token;
        break;
      }
      bytes.push_back(static_cast<char>(byte));
      k += c.bytes;
    }
    if (at(chain, i).is_last) {
      pass(chain, i, bytes, out);
    } else {
      at(chain, i).held += bytes;
    }
  }
  static void byte_level_end(DecodeChain& chain, std::size_t i, std::string& out) {
    if (at(chain, i).is_last) return;
    std::string text;
    append_lossy(text, at(chain, i).held);
    pass(chain, i, text, out);
  }

  static void metaspace(DecodeChain& chain, std::size_t i, std::string_view token,
                        std::string& out) {
    Stage& stage = at(chain, i);
    const bool drops =
        !stage.started &&
        stage.step->view.number != static_cast<std::uint32_t>(formats::PrependScheme::kNever);
    stage.started = true;
    pass(chain, i, replace_literal(token, stage.step->view.text, drops ? "" : " "), out);
  }

  static void wordpiece(DecodeChain& chain, std::size_t i, std::string_view token,
                        std::string& out) {
    Stage& stage = at(chain, i);
    const StepView& view = stage.step->view;
    std::string text(token);
    if (stage.started) {
      if (begins_with(token, view.text)) {
        text.erase(0, view.text.size());
      } else {
        text.insert(0, " ");
      }
    }
    stage.started = true;
    if ((view.flags & flag::kCleanup) != 0) text = clean_up(std::move(text));
    pass(chain, i, text, out);
  }

  static void bpe(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    Stage& stage = at(chain, i);
    const std::string before = std::move(stage.held);
    const bool had = stage.started;
    stage.held = token;
    stage.started = true;
    if (had) pass(chain, i, replace_suffix(stage, before, " "), out);
  }
  static void bpe_end(DecodeChain& chain, std::size_t i, std::string& out) {
    Stage& stage = at(chain, i);
    if (stage.started) pass(chain, i, replace_suffix(stage, stage.held, ""), out);
  }
  static std::string replace_suffix(const Stage& stage, std::string_view token,
                                    std::string_view with) {
    return replace_literal(token, stage.step->view.text, with);
  }

  static void byte_fallback(DecodeChain& chain, std::size_t i, std::string_view token,
                            std::string& out) {
    const int byte = formats::byte_of_token(token);
    if (byte >= 0) {
      at(chain, i).held.push_back(static_cast<char>(byte));
      return;
    }
    byte_fallback_end(chain, i, out);
    pass(chain, i, token, out);
  }
  /// A run of bytes is one text, or as many U+FFFD as bytes.
  static void byte_fallback_end(DecodeChain& chain, std::size_t i, std::string& out) {
    const std::string bytes = std::move(at(chain, i).held);
    at(chain, i).held.clear();
    if (bytes.empty()) return;
    if (find_invalid(bytes) == std::string_view::npos) {
      pass(chain, i, bytes, out);
    } else {
      for (std::size_t k = 0; k < bytes.size(); ++k) pass(chain, i, "\xEF\xBF\xBD", out);
    }
  }

  static void fuse(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    at(chain, i).started = true;
    pass(chain, i, token, out);
  }
  /// Of no token it makes one, of nothing.
  static void fuse_end(DecodeChain& chain, std::size_t i, std::string& out) {
    if (!at(chain, i).started) pass(chain, i, "", out);
  }

  /// Number of bytes to leave away in front: at most `most` times the content.
  static std::size_t front(std::string_view token, std::string_view content, std::uint32_t most,
                           std::uint32_t& count) {
    std::size_t bytes = 0;
    while (count < most && begins_with(token.substr(bytes), content)) {
      bytes += content.size();
      ++count;
    }
    return bytes;
  }
  static std::size_t back(std::string_view token, std::string_view content, std::uint32_t most) {
    std::size_t bytes = 0;
    for (std::uint32_t n = 0;
         n < most && token.size() - bytes >= content.size() &&
         token.substr(token.size() - bytes - content.size(), content.size()) == content;
         ++n) {
      bytes += content.size();
    }
    return bytes;
  }
  static void strip(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    Stage& stage = at(chain, i);
    const StepView& view = stage.step->view;
    if (!stage.fused_input) {
      std::uint32_t count = 0;
      token.remove_prefix(front(token, view.text, view.number, count));
      token.remove_suffix(back(token, view.text, view.number2));
      pass(chain, i, token, out);
      return;
    }
    if (!stage.started) {
      token.remove_prefix(front(token, view.text, view.number, stage.stripped));
      stage.started = !token.empty();
    }
    // What may be at the very end waits.
    stage.held += token;
    const std::size_t waits = back(stage.held, view.text, view.number2);
    const std::string ready = stage.held.substr(0, stage.held.size() - waits);
    stage.held.erase(0, ready.size());
    pass(chain, i, ready, out);
  }

  static void replace(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    const Step& step = *at(chain, i).step;
    if (!step.regex.has_value()) {
      if (!token.empty()) {  // Nothing is never replaced, not even by a pattern of nothing.
        pass(chain, i, replace_literal(token, step.view.text, step.view.content), out);
      } else {
        pass(chain, i, token, out);
      }
      return;
    }
    auto replaced = replace_regex(*step.regex, token, step.view.content);
    pass(chain, i, replaced.ok() ? std::string_view(*replaced) : token, out);
  }

  static void ctc(DecodeChain& chain, std::size_t i, std::string_view token, std::string& out) {
    Stage& stage = at(chain, i);
    const StepView& view = stage.step->view;
    if (stage.started && stage.held == token) return;
    stage.held = token;
    stage.started = true;
    std::string text = replace_literal(token, view.text, "");
    if ((view.flags & flag::kCleanup) != 0) {
      text = replace_literal(clean_up(std::move(text)), view.content, " ");
    }
    if (!text.empty()) pass(chain, i, text, out);
  }

  struct Row {
    StepKind kind;
    Take take;
    End end;
    bool fuses;        ///< What it gives is one token in parts.
    bool takes_parts;  ///< It can work on parts of one token.
  };
  static const Row& row_of(StepKind kind) {
    static constexpr Row kRows[] = {
        {StepKind::kDecodeByteLevel, byte_level, byte_level_end, true, false},
        {StepKind::kDecodeMetaspace, metaspace, nothing, false, false},
        {StepKind::kDecodeWordPiece, wordpiece, nothing, false, false},
        {StepKind::kDecodeBpe, bpe, bpe_end, false, false},
        {StepKind::kDecodeByteFallback, byte_fallback, byte_fallback_end, false, false},
        {StepKind::kDecodeStrip, strip, nothing, false, true},
        {StepKind::kDecodeReplaceLiteral, replace, nothing, false, false},
        {StepKind::kDecodeReplaceRegex, replace, nothing, false, false},
        {StepKind::kDecodeCtc, ctc, nothing, false, false},
        {StepKind::kDecodeFuse, fuse, fuse_end, true, true},
    };
    for (const Row& row : kRows) {
      if (row.kind == kind) return row;
    }
    return kRows[std::size(kRows) - 1];  // An unknown decoder changes nothing.
  }
};

DecodeChain::DecodeChain(const std::vector<Step>& steps) {
  bool fused = false;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    Stage stage;
    stage.step = &steps[i];
    stage.fused_input = fused;
    stage.is_last = i + 1 == steps.size();
    fused = fused || DecodeStages::row_of(steps[i].view.kind).fuses;
    stages_.push_back(std::move(stage));
  }
}

void DecodeChain::give(std::size_t i, std::string_view token, std::string& out) {
  if (i == stages_.size()) {
    if (stages_.empty() && any_) out.push_back(' ');
    any_ = true;
    out.append(token);
    return;
  }
  Stage& stage = stages_[i];
  const DecodeStages::Row& row = DecodeStages::row_of(stage.step->view.kind);
  if (stage.fused_input && !row.takes_parts) {
    stage.held += token;  // It must see the whole.
    stage.given = true;
  } else {
    row.take(*this, i, token, out);
  }
}

void DecodeChain::finish(std::string& out) {
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    Stage& stage = stages_[i];
    const DecodeStages::Row& row = DecodeStages::row_of(stage.step->view.kind);
    if (stage.fused_input && !row.takes_parts && stage.given) {
      const std::string whole = std::move(stage.held);
      stage.held.clear();
      row.take(*this, i, whole, out);
    }
    row.end(*this, i, out);
    stage.held.clear();
    stage.started = stage.given = false;
    stage.stripped = 0;
  }
  any_ = false;
}

void Utf8Gate::push(std::string_view bytes, std::string& out) {
  held_.append(bytes);
  // Only the last character can be cut off, and it is at most three bytes long so far.
  std::size_t keep = held_.size();
  for (std::size_t back = 1; back <= 3 && back <= held_.size(); ++back) {
    if (is_cut_off(held_, held_.size() - back)) keep = held_.size() - back;
  }
  append_lossy(out, std::string_view(held_).substr(0, keep));
  held_.erase(0, keep);
}

void Utf8Gate::finish(std::string& out) {
  append_lossy(out, held_);
  held_.clear();
}

}  // namespace quern::text
