#include "encoder_input.h"

#include <algorithm>
#include <utility>

namespace quern::cli {

namespace {

constexpr std::pair<std::string_view, Pooling> kPoolings[] = {
    {"mean", Pooling::kMean},
    {"cls", Pooling::kFirst},
    {"last", Pooling::kLast},
    {"max", Pooling::kMax},
    {"weighted-mean", Pooling::kWeightedMean},
    {"mean-sqrt", Pooling::kMeanSqrt},
};

Result<Pooling> pooling_of(std::string_view word) {
  for (const auto& [name, pooling] : kPoolings) {
    if (word == name) return pooling;
  }
  return Error(ErrorCode::kInvalidArgument, "no such pooling")
      .of("--pooling")
      .want("mean, cls, last, max, weighted-mean, mean-sqrt, or several with commas between")
      .got(std::string(word));
}

}  // namespace

Status read_poolings(std::string_view words, EmbeddingOptions& out) {
  out.joined.clear();
  for (std::size_t at = 0; at <= words.size();) {
    const std::size_t comma = std::min(words.find(',', at), words.size());
    QUERN_TRY(pooling, pooling_of(words.substr(at, comma - at)));
    if (at == 0)
      out.pooling = pooling;
    else
      out.joined.push_back(pooling);
    at = comma + 1;
  }
  return {};
}

Result<std::vector<std::string>> read_texts(const std::string& path) {
  QUERN_TRY(input, read_input(path));
  std::vector<std::string> texts;
  for (const std::string_view text : split_lines(input)) {
    const std::string where = input_name(path) + ", line " + std::to_string(texts.size() + 1);
    QUERN_TRY(line, parse_json(text, where));
    if (line.is_object() && line.contains("text")) line = Json(line["text"]);
    if (!line.is_string())
      return Error(ErrorCode::kMalformed, "a line is an object with a text").in_file(where);
    texts.push_back(line.get<std::string>());
  }
  return texts;
}

Json to_json(std::span<const float> values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(static_cast<double>(value));
  return list;
}

}  // namespace quern::cli
