#include "cuda/twin_programs.h"

#include <doctest/doctest.h>

#include <cmath>

namespace quern::test {

ColumnGraph::ColumnGraph(std::int64_t cols, float deviation, std::uint32_t seed)
    : cols_(cols), deviation_(deviation), random_(seed) {
  builder_ = std::make_unique<graph::GraphBuilder>(
      [this](std::string_view name, bool) -> Result<quant::TensorView> {
        const auto found = weights_.find(std::string(name));
        return found == weights_.end() ? quant::TensorView{} : found->second;
      },
      kVocab);
  const graph::WeightId table = matrix("table", kVocab, cols);
  table_ = const_cast<std::byte*>(weights_["table"].data);
  embedding_ = builder_->embedding(table);
}

std::byte* ColumnGraph::allocate(std::uint64_t bytes) {
  return reinterpret_cast<std::byte*>(storage_.emplace_back((bytes + 63) / 64).data());
}

graph::ValueId ColumnGraph::take(std::int64_t cols) {
  const std::int64_t first = taken_;
  taken_ += cols;
  REQUIRE(taken_ <= cols_);
  return builder_->columns(embedding_, first, cols, "columns" + std::to_string(first));
}

void ColumnGraph::fill(const EncodingInfo& info, std::int64_t cols, std::byte* panel) {
  const auto bytes = *panel_bytes(info, static_cast<std::uint64_t>(cols));
  for (std::uint64_t at = 0; at < bytes; ++at) panel[at] = static_cast<std::byte>(random_() & 255U);
  for (int i = 0; i < 4; ++i) {
    const EncodingInfo::Stream& stream = info.streams[static_cast<std::size_t>(i)];
    if (stream.cell_bytes == 0 || stream.cell_bytes > 64) continue;
    const auto begin = *stream_offset(info, static_cast<std::uint64_t>(cols), i);
    const auto end = i < 3 ? *stream_offset(info, static_cast<std::uint64_t>(cols), i + 1) : bytes;
    for (std::uint64_t at = begin; at < end; ++at) panel[at] &= std::byte{0x3b};
  }
}

graph::WeightId ColumnGraph::matrix(const std::string& name, std::int64_t rows, std::int64_t cols,
                                    Encoding encoding, std::int64_t batch) {
  const EncodingInfo& info = *find_encoding(encoding);
  const auto panel = *panel_bytes(info, static_cast<std::uint64_t>(cols));
  const auto panels = static_cast<std::uint64_t>((rows + 15) / 16 * batch);
  std::byte* data = allocate(panel * panels);
  std::normal_distribution<float> normal(0.0F, deviation_);
  for (std::uint64_t p = 0; p < panels; ++p) {
    std::vector<float> rows16(static_cast<std::size_t>(16 * cols));
    for (float& value : rows16) value = normal(random_);
    const auto quantize = quant::find_ops(encoding)->quantize_panel;
    if (quantize == nullptr) {
      fill(info, cols, data + p * panel);
    } else {
      quantize(rows16.data(), cols, {}, data + p * panel);
    }
  }
  weights_[name] = {encoding, Layout::kPanel16, batch, rows, cols, data};
  return batch == 1 ? builder_->matrix(name, rows, cols)
                    : builder_->matrices(name, batch, rows, cols);
}

graph::WeightId ColumnGraph::vector(const std::string& name, std::int64_t n, float scale,
                                    float shift) {
  auto* data = reinterpret_cast<float*>(allocate(static_cast<std::uint64_t>(4 * n)));
  std::normal_distribution<float> normal(shift, scale);
  for (std::int64_t i = 0; i < n; ++i) data[i] = normal(random_);
  weights_[name] = {Encoding::kF32, Layout::kPlain, 1, 1, n, reinterpret_cast<std::byte*>(data)};
  return builder_->vector(name, n);
}

std::shared_ptr<const graph::Graph> ColumnGraph::finish(graph::ValueId out) {
  if (out != graph::kNone) builder_->output("out", out);
  auto built = builder_->finish();
  REQUIRE_MESSAGE(built.ok(), (built.ok() ? "" : built.error().describe()));
  return std::make_shared<const graph::Graph>(std::move(built).value());
}

void ColumnGraph::set(std::int64_t token, std::int64_t column, float value) {
  // A panel of float32 is [column][16 rows].
  const std::int64_t at = (token / 16 * cols_ + column) * 16 + token % 16;
  std::memcpy(table_ + 4 * at, &value, sizeof value);
}

TwinPrograms::TwinPrograms(std::shared_ptr<const graph::Graph> graph,
                           backends::CompileOptions options)
    : options_(std::move(options)) {
  options_.max_outputs = options_.max_rows;
  options_.executor = std::move(make_executor(1)).value();
  const auto compile = [&](const char* name) {
    auto program = (*backends::find_backend(name))->compile(graph, options_);
    REQUIRE_MESSAGE(program.ok(), (program.ok() ? "" : program.error().describe()));
    return std::move(program).value();
  };
  host_ = compile("cpu");
  device_ = compile("cuda");
}

TwinSequence TwinPrograms::sequence(std::int64_t source, std::int64_t positions) const {
  const backends::SequenceSize size{positions > 0 ? positions : options_.max_positions, source};
  return {std::move(host_->new_sequence(size)).value(),
          std::move(device_->new_sequence(size)).value()};
}

void TwinPrograms::add(TwinSequence* sequence, std::int64_t n) {
  if (sequence == nullptr) starts_.push_back(static_cast<std::int32_t>(tokens_.size()));
  const std::size_t start = tokens_.size();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t token = (next_ * next_ * 5 + next_ * 11 + 3) % (ColumnGraph::kVocab - 1);
    ++next_;
    add_token(sequence, static_cast<std::int32_t>(token));
    if (sequence == nullptr)
      positions_.back() = static_cast<std::int64_t>(tokens_.size() - 1 - start);
  }
}

void TwinPrograms::add_token(TwinSequence* sequence, std::int32_t token) {
  tokens_.push_back(token);
  positions_.push_back(sequence == nullptr ? 0 : sequence->position++);
  if (sequence == nullptr) return;
  hosts_.push_back(sequence->host.get());
  devices_.push_back(sequence->device.get());
}

std::ptrdiff_t TwinPrograms::run() {
  std::vector<std::int32_t> outputs(tokens_.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs[i] = static_cast<std::int32_t>(i);
  backends::StepBinding step{tokens_, positions_, hosts_, outputs};
  step.starts = starts_;
  const Status host = host_->run(step);
  step.sequences = devices_;
  const Status device = device_->run(step);
  for (std::vector<std::int32_t>* list : {&tokens_, &starts_}) list->clear();
  positions_.clear();
  hosts_.clear();
  devices_.clear();
  if (!host.ok() || !device.ok()) {
    MESSAGE((host.ok() ? device : host).error().describe());
    return -2;
  }
  const auto a = host_->output("out"), b = device_->output("out");
  output_.assign(b.begin(), b.end());
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return static_cast<std::ptrdiff_t>(i);
  }
  return -1;
}

}  // namespace quern::test
