#include <algorithm>
#include <cmath>
#include <string>

#include "base/guard.h"
#include "quern/evaluation.h"
#include "runtime/leading_ids.h"
#include "runtime/model_state.h"
#include "runtime/source_reader.h"

namespace quern {
namespace {

/// Scores the tokens of one continuation as their rows of logits come.
class ContinuationScore {
 public:
  explicit ContinuationScore(std::span<const TokenId> ids) : ids_(ids) {}

  Status add(std::span<const float> row) {
    const TokenId id = ids_[done_++];
    QUERN_TRY(log_likelihood, log_likelihood_of(row, id));
    found_.log_likelihood += log_likelihood;
    ++found_.tokens;
    const float own = row[static_cast<std::size_t>(id)];
    found_.is_greedy = found_.is_greedy && *std::max_element(row.begin(), row.end()) <= own;
    return {};
  }
  Status add_rows(std::span<const float> rows, std::size_t vocab_size) {
    for (; rows.size() >= vocab_size; rows = rows.subspan(vocab_size))
      QUERN_CHECK(add(rows.first(vocab_size)));
    return {};
  }
  const Likelihood& found() const { return found_; }

 private:
  std::span<const TokenId> ids_;
  std::size_t done_ = 0;
  Likelihood found_;
};

/// Keeps of the session's state what it shares with `prompt`, but for the last token, whose logits
/// are needed, and evaluates the rest.
Result<std::vector<float>> last_logits(Session& session, std::span<const TokenId> prompt) {
  const std::vector<TokenId>& held = session.tokens();
  const auto differ = std::mismatch(held.begin(), held.end(), prompt.begin(), prompt.end());
  const std::int64_t common = std::min<std::int64_t>(differ.first - held.begin(),
                                                     static_cast<std::int64_t>(prompt.size()) - 1);
  Status rewound = session.rewind(common);
  if (!rewound.ok()) {
    if (rewound.error().code != ErrorCode::kUnsupported) return std::move(rewound).error();
    QUERN_CHECK(session.rewind(0));
  }
  QUERN_TRY(row, session.step(prompt.subspan(static_cast<std::size_t>(session.position()))));
  return std::vector<float>(row.begin(), row.end());
}

/// Brings the state back to the prompt: evaluated again where it cannot go back.
Status return_to(Session& session, std::span<const TokenId> prompt) {
  Status rewound = session.rewind(static_cast<std::int64_t>(prompt.size()));
  if (rewound.ok() || rewound.error().code != ErrorCode::kUnsupported) return rewound;
  QUERN_CHECK(session.rewind(0));
  const auto row = session.step(prompt);
  return row.ok() ? Status() : Status(row.error());
}

Error empty(const char* field, const char* what) {
  return Error(ErrorCode::kInvalidArgument, what).of(field).want("at least one token");
}

std::vector<TokenId> tail(const std::vector<TokenId>& ids, std::size_t from) {
  return {ids.begin() + static_cast<std::ptrdiff_t>(from), ids.end()};
}

}  // namespace

double Likelihood::per_token() const noexcept {
  return tokens > 0 ? log_likelihood / static_cast<double>(tokens) : 0.0;
}

double Likelihood::per_byte() const noexcept {
  return bytes > 0 ? log_likelihood / static_cast<double>(bytes) : 0.0;
}

Result<std::vector<Likelihood>> continuation_likelihoods(
    Session& session, std::span<const TokenId> prompt,
    std::span<const std::vector<TokenId>> continuations) {
  return base::guarded([&]() -> Result<std::vector<Likelihood>> {
    if (prompt.empty()) return empty("prompt", "nothing stands before the continuations");
    for (const auto& ids : continuations)
      if (ids.empty()) return empty("continuation", "a continuation is empty");
    if (session.model().is_encoder_decoder()) {
      QUERN_TRY(start, runtime::require_decoder_start(session.model()));
      QUERN_CHECK(session.read_source(prompt));
      prompt = start;
    }
    QUERN_TRY(first, last_logits(session, prompt));
    std::vector<Likelihood> found;
    bool moved = false;
    for (const auto& ids : continuations) {
      ContinuationScore score(ids);
      QUERN_CHECK(score.add(first));
      if (ids.size() > 1) {  // The last token is only predicted.
        if (moved) QUERN_CHECK(return_to(session, prompt));
        moved = true;
        QUERN_CHECK(session.step_all(std::span(ids).first(ids.size() - 1),
                                     [&](std::int64_t, std::span<const float> rows) {
                                       return score.add_rows(rows, first.size());
                                     }));
      }
      found.push_back(score.found());
    }
    return found;
  });
}

namespace {

/// The context is a text of its own, the source; so is every continuation.
Result<ContinuationIds> encode_replies(const Model& model, std::string_view context,
                                       std::span<const std::string> continuations,
                                       bool parse_special) {
  ContinuationIds out;
  QUERN_TRY(source, model.encode(context, {.parse_special = parse_special}));
  out.prompt = std::move(source);
  for (const std::string& continuation : continuations) {
    if (continuation.empty()) return empty("continuation", "a continuation is empty");
    QUERN_TRY(ids, model.encode(continuation, {.add_special = false, .parse_special = false}));
    out.continuations.push_back(std::move(ids));
  }
  return out;
}

}  // namespace

Result<ContinuationIds> encode_continuations(const Model& model, std::string_view context,
                                             std::span<const std::string> continuations,
                                             bool parse_special) {
  return base::guarded([&]() -> Result<ContinuationIds> {
    if (model.is_encoder_decoder())
      return encode_replies(model, context, continuations, parse_special);
    const EncodeOptions plain{.add_special = false, .parse_special = parse_special};
    QUERN_TRY(before, model.encode(context, plain));
    QUERN_TRY(leading, runtime::leading_ids(model));
    std::size_t shared = before.size();
    std::vector<std::vector<TokenId>> wholes;
    for (const std::string& continuation : continuations) {
      if (continuation.empty()) return empty("continuation", "a continuation is empty");
      QUERN_TRY(ids, model.encode(std::string(context) + continuation, plain));
      const auto differ = std::mismatch(before.begin(), before.end(), ids.begin(), ids.end());
      const auto same = static_cast<std::size_t>(differ.first - before.begin());
      // At least one token is left to be scored.
      shared = std::min({shared, same, ids.empty() ? 0 : ids.size() - 1});
      wholes.push_back(std::move(ids));
    }
    ContinuationIds out;
    out.prompt = std::move(leading);
    out.prompt.insert(out.prompt.end(), before.begin(),
                      before.begin() + static_cast<std::ptrdiff_t>(shared));
    // Something must stand before the first token; an end of a text does as well as a beginning.
    if (out.prompt.empty() && model.bos() >= 0) out.prompt.push_back(model.bos());
    if (out.prompt.empty() && model.eos() >= 0) out.prompt.push_back(model.eos());
    for (const auto& ids : wholes) out.continuations.push_back(tail(ids, shared));
    return out;
  });
}

Result<std::vector<Likelihood>> continuation_likelihoods(Session& session, std::string_view context,
                                                         std::span<const std::string> continuations,
                                                         bool parse_special) {
  return base::guarded([&]() -> Result<std::vector<Likelihood>> {
    QUERN_TRY(ids, encode_continuations(session.model(), context, continuations, parse_special));
    QUERN_TRY(found, continuation_likelihoods(session, ids.prompt, ids.continuations));
    for (std::size_t i = 0; i < found.size(); ++i)
      found[i].bytes = static_cast<std::int64_t>(continuations[i].size());
    return found;
  });
}

}  // namespace quern
