#include "convert/sample_text.h"

#include <algorithm>

#include "convert/self_test_maker.h"
#include "formats/mapped_file.h"
#include "quern/session.h"
#include "runtime/prompt_values.h"

namespace quern::convert {
namespace {

constexpr std::uint64_t kLargestText = std::uint64_t{1} << 30;

/// A start for each window: BOS where there is one, then ids spread over the vocabulary, so that
/// the windows differ from their first word on.
std::vector<TokenId> start_of(const Model& model, std::size_t window) {
  std::vector<TokenId> start;
  if (model.bos() >= 0) start.push_back(model.bos());
  const std::vector<std::int32_t> spread = self_test_prompt(model.vocab_size());
  start.push_back(spread[window % spread.size()]);
  return start;
}

std::vector<TokenId> spread_ids(std::int64_t vocab_size, std::size_t length, std::size_t window) {
  std::vector<TokenId> ids(length);
  std::uint64_t state = 2 * window + 1;
  for (TokenId& id : ids) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<TokenId>((state >> 33) % static_cast<std::uint64_t>(vocab_size));
  }
  return ids;
}

GenerateOptions free_writing(std::size_t window, std::size_t tokens) {
  GenerateOptions options;
  options.sampling.temperature = 1.0F;
  options.sampling.top_k = 0;
  options.sampling.top_p = 1.0F;
  options.sampling.min_p = 0.0F;
  options.sampling.seed = window;
  options.max_tokens = static_cast<std::int64_t>(tokens);
  options.ignore_end_tokens = true;
  return options;
}

/// A decoder writes on from a start; an encoder–decoder answers a source of spread ids, which is
/// the window's first half.
Result<std::vector<TokenId>> write_window(Session& session, std::size_t length,
                                          std::size_t window) {
  const Model& model = session.model();
  const bool answers = model.is_encoder_decoder();
  std::vector<TokenId> ids =
      answers ? spread_ids(runtime::prompt_vocabulary(model), (length + 1) / 2, window)
              : start_of(model, window);
  ids.resize(std::min(ids.size(), length));
  QUERN_CHECK(session.rewind(0));
  if (answers) QUERN_CHECK(session.read_source(ids));
  const std::span<const TokenId> prompt = answers ? model.decoder_start() : ids;
  QUERN_TRY(reply, session.generate(prompt, free_writing(window, length - ids.size())));
  ids.insert(ids.end(), reply.ids.begin(), reply.ids.end());
  return ids;
}

}  // namespace

std::size_t window_tokens(const Model& model) {
  const std::int64_t most = model.is_encoder() ? model.max_text_tokens() : model.max_seq_len();
  return static_cast<std::size_t>(std::clamp<std::int64_t>(most, 2, 512));
}

Result<TokenWindows> read_windows(const Model& model, const std::string& path, std::size_t length,
                                  std::size_t count) {
  if (!model.has_tokenizer()) {
    return Error(ErrorCode::kMissing, "the model has no tokenizer and cannot read a text")
        .in_file(path);
  }
  QUERN_TRY(text, formats::read_file(path, kLargestText));
  QUERN_TRY(ids, model.encode(text, {.add_special = false, .parse_special = false}));
  const std::size_t whole = ids.size() / length;
  if (whole == 0) {
    return Error(ErrorCode::kInvalidArgument, "the text is too short")
        .in_file(path)
        .want("at least " + std::to_string(length) + " tokens")
        .got(std::to_string(ids.size()));
  }
  const std::size_t taken = std::min(whole, count);
  TokenWindows windows;
  for (std::size_t i = 0; i < taken; ++i) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(i * whole / taken * length);
    windows.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(length));
  }
  return windows;
}

Result<TokenWindows> write_windows(const Model& model, std::size_t length, std::size_t count) {
  TokenWindows windows;
  if (model.is_encoder()) {
    for (std::size_t i = 0; i < count; ++i) {
      windows.push_back(spread_ids(model.vocab_size(), length, i));
    }
    return windows;
  }
  SessionOptions options;
  options.context = static_cast<std::int64_t>(length);
  QUERN_TRY(session, Session::create(model, options));
  for (std::size_t i = 0; i < count; ++i) {
    QUERN_TRY(ids, write_window(session, length, i));
    windows.push_back(std::move(ids));
  }
  return windows;
}

}  // namespace quern::convert
