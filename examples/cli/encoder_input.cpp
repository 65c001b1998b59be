#include "encoder_input.h"

namespace quern::cli {

Result<Pooling> pooling_of(const std::string& word) {
  if (word == "mean") return Pooling::kMean;
  if (word == "cls") return Pooling::kFirst;
  if (word == "last") return Pooling::kLast;
  if (word == "max") return Pooling::kMax;
  return Error(ErrorCode::kInvalidArgument, "no such pooling")
      .of("--pooling")
      .want("mean, cls, last or max")
      .got(word);
}

Result<std::vector<std::string>> read_texts(const std::string& path) {
  QUERN_TRY(input, read_input(path));
  std::vector<std::string> texts;
  for (const std::string_view text : split_lines(input)) {
    const std::string where =
        (path == "-" ? std::string("stdin") : path) + ", line " + std::to_string(texts.size() + 1);
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
