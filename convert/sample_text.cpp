#include "convert/sample_text.h"

#include <algorithm>

#include "convert/self_test_maker.h"
#include "convert/text_writer.h"
#include "formats/mapped_file.h"
#include "quern/session.h"
#include "runtime/prompt_values.h"

namespace quern::convert {
namespace {

constexpr std::uint64_t kLargestText = std::uint64_t{1} << 30;
/// Windows that are written at once: each has a cache of its own.
constexpr std::size_t kTogether = 8;

/// A start for each window: BOS, after which windows differ by their seeds, or where there is none
/// an id from anywhere in the vocabulary.
std::vector<TokenId> start_of(const Model& model, std::size_t window) {
  if (model.bos() >= 0) return {model.bos()};
  const std::vector<std::int32_t> spread = self_test_prompt(model.vocab_size());
  return {spread[window % spread.size()]};
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

/// An encoder–decoder answers a source of spread ids, which is the window's first half.
Result<std::vector<TokenId>> write_answer(Session& session, std::size_t length,
                                          std::size_t window) {
  const Model& model = session.model();
  std::vector<TokenId> ids =
      spread_ids(runtime::prompt_vocabulary(model), (length + 1) / 2, window);
  GenerateOptions options;
  options.sampling = free_choice(window);
  options.max_tokens = static_cast<std::int64_t>(length - ids.size());
  options.ignore_end_tokens = true;
  QUERN_CHECK(session.rewind(0));
  QUERN_CHECK(session.read_source(ids));
  QUERN_TRY(reply, session.generate(model.decoder_start(), options));
  ids.insert(ids.end(), reply.ids.begin(), reply.ids.end());
  return ids;
}

Result<TokenWindows> write_answers(const Model& model, std::size_t length, std::size_t count,
                                   ProgressMeter& meter) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(length);
  QUERN_TRY(session, Session::create(model, options));
  TokenWindows windows;
  for (std::size_t i = 0; i < count; ++i) {
    QUERN_TRY(ids, write_answer(session, length, i));
    windows.push_back(std::move(ids));
    QUERN_CHECK(meter.advance(0));
  }
  return windows;
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

Result<TokenWindows> write_windows(const Model& model, std::size_t length, std::size_t count,
                                   ProgressMeter& meter) {
  if (model.is_encoder_decoder()) return write_answers(model, length, count, meter);
  TokenWindows windows;
  for (std::size_t i = 0; i < count; ++i) {
    windows.push_back(model.is_encoder() ? spread_ids(model.vocab_size(), length, i)
                                         : start_of(model, i));
  }
  if (model.is_encoder()) return windows;
  for (std::size_t i = 0; i < count; i += kTogether) {
    const auto some = std::span(windows).subspan(i, std::min(kTogether, count - i));
    QUERN_CHECK(write_on(model, length, i, some, meter));
  }
  return windows;
}

}  // namespace quern::convert
