#include "convert/model_comparison.h"

#include <algorithm>
#include <cmath>

#include "convert/sample_text.h"
#include "formats/mapped_file.h"
#include "quern/encoder.h"
#include "runtime/window_feed.h"

namespace quern::convert {
namespace {

constexpr std::size_t kWindows = 20;
constexpr std::size_t kLines = 200;
/// Rows whose logits both models show at once.
constexpr std::size_t kRowsAtOnce = 64;
constexpr std::uint64_t kLargestText = std::uint64_t{1} << 30;

Status report_progress(const Progress& progress, std::size_t done, std::size_t total) {
  if (!progress || progress(done, total)) return {};
  return Error(ErrorCode::kCancelled, "the comparison was cancelled");
}

Result<Session> make_session(const Model& model, std::size_t window, KvType kv) {
  SessionOptions options;
  options.kv = kv;
  options.context = static_cast<std::int64_t>(window);
  options.output_rows = static_cast<std::int64_t>(kRowsAtOnce);
  return Session::create(model, options);
}

/// Two sessions that read the same tokens.
struct Pair {
  Session source, quantized;
  LogitsScore own, against;
  std::vector<float> rows;  ///< The source's logits of a chunk.

  /// Scores what predicts `targets` after `ids`, as many.
  Status score_chunk(std::span<const TokenId> ids, std::span<const TokenId> targets) {
    rows.clear();
    QUERN_CHECK(source.step_all(ids, [&](std::int64_t, std::span<const float> some) -> Status {
      rows.insert(rows.end(), some.begin(), some.end());
      return {};
    }));
    const std::size_t vocab = rows.size() / ids.size();
    std::size_t at = 0;
    return quantized.step_all(ids, [&](std::int64_t, std::span<const float> some) -> Status {
      for (; !some.empty(); some = some.subspan(vocab), ++at) {
        const auto reference = std::span<const float>(rows).subspan(at * vocab, vocab);
        QUERN_CHECK(own.add(reference, targets[at]));
        QUERN_CHECK(against.add(some.first(vocab), targets[at], reference));
      }
      return {};
    });
  }

  Status score_window(std::span<const TokenId> window) {
    QUERN_TRY(feed, runtime::feed_window(source, window));
    QUERN_CHECK(runtime::feed_window(quantized, window));
    std::span<const TokenId> ids = feed.ids, targets = window.subspan(feed.first);
    while (!ids.empty()) {
      const std::size_t count = std::min(kRowsAtOnce, ids.size());
      QUERN_CHECK(score_chunk(ids.first(count), targets.first(count)));
      ids = ids.subspan(count);
      targets = targets.subspan(count);
    }
    return {};
  }
};

Result<ModelComparison> compare_decoders(const Model& source, const Model& quantized, KvType kv,
                                         const std::string& text_path, const Progress& progress) {
  QUERN_TRY(windows, read_windows(source, text_path, window_tokens(source), kWindows));
  QUERN_TRY(first, make_session(source, windows.front().size(), KvType::kAuto));
  QUERN_TRY(second, make_session(quantized, windows.front().size(), kv));
  Pair pair{std::move(first), std::move(second), {}, {}, {}};
  for (std::size_t i = 0; i < windows.size(); ++i) {
    QUERN_CHECK(pair.score_window(windows[i]));
    QUERN_CHECK(report_progress(progress, i + 1, windows.size()));
  }
  ModelComparison result;
  result.logits = pair.against.result();
  result.source_perplexity = pair.own.result().perplexity;
  return result;
}

/// Lines of a text that hold more than blanks, spread evenly over it.
std::vector<std::string> some_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(line);
    begin = end + 1;
  }
  if (lines.size() <= kLines) return lines;
  std::vector<std::string> some;
  for (std::size_t i = 0; i < kLines; ++i) some.push_back(lines[i * lines.size() / kLines]);
  return some;
}

Result<std::vector<float>> embed_all(const Model& model, std::span<const EncoderInput> inputs) {
  QUERN_TRY(encoder, Encoder::create(model, {.logits = false}));
  return encoder.embed(inputs, model.default_embedding());
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 1.0;
}

Result<ModelComparison> compare_encoders(const Model& source, const Model& quantized,
                                         const std::string& text_path, const Progress& progress) {
  QUERN_TRY(text, formats::read_file(text_path, kLargestText));
  std::vector<EncoderInput> inputs;
  for (const std::string& line : some_lines(text)) {
    QUERN_TRY(input, source.encode_text(line, source.max_text_tokens()));
    if (!input.ids.empty()) inputs.push_back(std::move(input));
  }
  if (inputs.empty()) {
    return Error(ErrorCode::kInvalidArgument, "the text holds nothing to embed")
        .in_file(text_path)
        .want("at least one line of text");
  }
  QUERN_TRY(exact, embed_all(source, inputs));
  QUERN_CHECK(report_progress(progress, 1, 2));
  QUERN_TRY(stored, embed_all(quantized, inputs));
  QUERN_CHECK(report_progress(progress, 2, 2));
  const std::size_t dim = exact.size() / inputs.size();
  ModelComparison result;
  result.texts = static_cast<std::int64_t>(inputs.size());
  result.cosine_least = 1;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const double found = cosine(std::span<const float>(exact).subspan(i * dim, dim),
                                std::span<const float>(stored).subspan(i * dim, dim));
    result.cosine_mean += found / static_cast<double>(inputs.size());
    result.cosine_least = std::min(result.cosine_least, found);
  }
  return result;
}

}  // namespace

Result<ModelComparison> compare_models(const Model& source, const Model& quantized, KvType kv,
                                       const std::string& text_path, const Progress& progress) {
  return source.is_encoder() ? compare_encoders(source, quantized, text_path, progress)
                             : compare_decoders(source, quantized, kv, text_path, progress);
}

}  // namespace quern::convert
