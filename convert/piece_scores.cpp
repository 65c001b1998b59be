#include "convert/piece_scores.h"

#include <string_view>
#include <unordered_map>

namespace quern::convert {
namespace {

using formats::TokenizerSpec;
using formats::TokenRow;
using Ids = std::unordered_map<std::string_view, std::int32_t>;

/// How many pairs of pieces make the text.
std::size_t count_splits(std::string_view text, const Ids& ids) {
  std::size_t splits = 0;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    splits += ids.count(text.substr(0, at)) != 0 && ids.count(text.substr(at)) != 0 ? 1 : 0;
  }
  return splits;
}

}  // namespace

std::optional<std::vector<double>> piece_scores(const TokenizerSpec& spec) {
  Ids ids;
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i].in_model) ids.emplace(spec.tokens[i].text, static_cast<std::int32_t>(i));
  }
  std::vector<double> scores(spec.tokens.size(), 0.0);
  std::vector<std::size_t> merges(spec.tokens.size(), 0);
  double score = 0;
  std::int32_t last = -1;
  for (const formats::Merge& merge : spec.merges) {
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) return std::nullopt;
    const auto result = static_cast<std::size_t>(merge.result);
    if (merge.result != last && merges[result] > 0) return std::nullopt;
    if (merge.result != last) scores[result] = --score;
    last = merge.result;
    ++merges[result];
  }
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenRow& row = spec.tokens[i];
    if (row.in_model && count_splits(row.text, ids) != merges[i]) return std::nullopt;
  }
  return scores;
}

}  // namespace quern::convert
