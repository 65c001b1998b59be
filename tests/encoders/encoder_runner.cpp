#include "encoder_runner.h"

#include <numeric>

namespace quern::test {

std::vector<Text> golden_texts(const formats::SafetensorsFile& golden) {
  const std::vector<std::int32_t> ids = golden_ids(golden, "input_ids");
  const std::vector<std::int32_t> mask = golden_ids(golden, "attention_mask");
  const std::vector<std::int32_t> types = golden_ids(golden, "token_type_ids");
  const std::size_t length = golden.find("input_ids")->shape[1];
  std::vector<Text> texts(ids.size() / length);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (mask[i] == 0) continue;
    texts[i / length].ids.push_back(ids[i]);
    texts[i / length].types.push_back(types.empty() ? 0 : types[i]);
  }
  return texts;
}

std::vector<float> golden_part(const formats::SafetensorsFile& golden, const std::string& name,
                               std::size_t i, std::size_t n) {
  const std::vector<float> all = golden_floats(golden, name);
  const std::size_t each = all.size() / golden.find(name)->shape[0];
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(i * each);
  return {first, first + static_cast<std::ptrdiff_t>(std::min(n, each))};
}

Result<EncoderRunner> EncoderRunner::create(const GoldenModel& model, int threads,
                                            const std::string& name) {
  QUERN_TRY(backend, backends::find_backend(name));
  QUERN_TRY(executor, make_executor(threads));
  backends::CompileOptions compile;
  compile.max_rows = compile.max_outputs = compile.max_positions = 192;
  compile.executor = std::move(executor);
  EncoderRunner runner;
  runner.graph_ = model.graph();
  QUERN_TRY(program, backend->compile(model.graph(), compile));
  runner.program_ = std::move(program);
  return runner;
}

Status EncoderRunner::run(const std::vector<Text>& texts) {
  std::vector<std::int32_t> ids, types;
  std::vector<std::int64_t> positions;
  starts_ = {0};
  for (const Text& text : texts) {
    ids.insert(ids.end(), text.ids.begin(), text.ids.end());
    types.insert(types.end(), text.types.begin(), text.types.end());
    for (std::size_t i = 0; i < text.ids.size(); ++i)
      positions.push_back(static_cast<std::int64_t>(i));
    starts_.push_back(static_cast<std::int32_t>(ids.size()));
  }
  std::vector<std::int32_t> rows(ids.size());
  std::iota(rows.begin(), rows.end(), 0);
  backends::StepBinding step;
  step.tokens = ids;
  step.positions = positions;
  step.output_rows = rows;
  step.types = types;
  step.starts = std::span<const std::int32_t>(starts_).first(texts.size());
  return program_->run(step);
}

std::vector<float> EncoderRunner::output(const std::string& name, std::size_t i) const {
  const std::span<const float> all = program_->output(name);
  for (const graph::Output& output : graph_->outputs) {
    if (output.name != name) continue;
    const graph::Value& value = graph_->values[static_cast<std::size_t>(output.value)];
    const bool pooled = value.rows == graph::Rows::kSequence;
    const auto cols = static_cast<std::size_t>(value.cols);
    const std::size_t first = pooled ? i : static_cast<std::size_t>(starts_[i]);
    const std::size_t last = pooled ? i + 1 : static_cast<std::size_t>(starts_[i + 1]);
    return {all.begin() + static_cast<std::ptrdiff_t>(first * cols),
            all.begin() + static_cast<std::ptrdiff_t>(last * cols)};
  }
  return {};
}

}  // namespace quern::test
