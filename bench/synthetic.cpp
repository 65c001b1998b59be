// Makes a checkpoint of random bfloat16 weights for any configuration, and counts what the model
// computes per token in texts of two lengths. For `families`. Usage: bench_synthetic FOLDER PREFILL
// DECODE [MORE_TENSORS…], where FOLDER holds config.json; writes model.safetensors beside it and
// prints one JSON document. Of the tensors that a model may have it gets those whose name ends in
// one of MORE_TENSORS.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/page_buffer.h"
#include "formats/json.h"
#include "formats/safetensors_writer.h"
#include "models/architecture.h"

namespace quern::bench {
namespace {

using models::ExpectedTensor;
using models::Role;

std::string count(double n) { return std::to_string(static_cast<std::int64_t>(n)); }

/// A tensor of the file: where several of ours are its rows, the whole.
struct FileTensor {
  std::vector<std::uint64_t> shape;
  bool vector = false;
};

/// Multiply-adds for one row of a step that sees `seen` positions.
struct Work {
  double every_row = 0;   ///< For each row.
  double output_row = 0;  ///< For each row whose output is asked for.
};

class Synthesis {
 public:
  static Result<Synthesis> of(const std::string& folder, std::vector<std::string> more) {
    Synthesis made;
    QUERN_TRY(json, formats::read_json_file(folder + "/config.json"));
    QUERN_TRY(source, formats::flatten_json(json, "config.json"));
    const ConfigList classes = source.list("architectures");
    const auto* name = classes.empty() ? nullptr : std::get_if<std::string>(&classes.front());
    made.architecture_ = name == nullptr ? nullptr : models::find_by_hf_class(*name);
    if (made.architecture_ == nullptr)
      return Error(ErrorCode::kUnsupported, "no such architecture").of("architectures");
    QUERN_TRY(config, made.architecture_->read_config(source, models::SourceKind::kHuggingFace));
    made.config_ = std::move(config);
    QUERN_TRY(expected, models::expected_tensors(*made.architecture_, made.config_));
    for (ExpectedTensor& tensor : expected) {
      const bool wanted = std::any_of(more.begin(), more.end(), [&](const std::string& ending) {
        return tensor.name.ends_with(ending);
      });
      if (!tensor.optional || wanted) made.expected_.push_back(std::move(tensor));
    }
    return made;
  }

  Status write(const std::string& path) const {
    std::map<std::string, FileTensor> tensors;
    for (const ExpectedTensor& tensor : expected_) add_to(tensors, tensor);
    QUERN_TRY(writer, formats::SafetensorsWriter::create(path));
    const formats::SafeDtype* dtype = formats::find_safe_dtype("BF16");
    for (const auto& [name, tensor] : tensors)
      QUERN_CHECK(writer.declare_tensor(name, *dtype, tensor.shape));
    QUERN_CHECK(writer.begin());
    std::uint64_t seed = 1;
    for (const auto& [name, tensor] : tensors) QUERN_CHECK(write_random(writer, tensor, seed));
    return writer.finish();
  }

  double parameters() const {
    double sum = 0;
    for (const ExpectedTensor& tensor : expected_)
      sum += static_cast<double>(tensor.rows * tensor.cols) * static_cast<double>(tensor.count);
    return sum;
  }

  /// \param seen positions that a row sees on average, windows aside.
  Result<Work> work(double seen) const {
    base::PageBuffer nothing;  // The graph is only looked at: pages that are never touched will do.
    QUERN_TRY(space, base::PageBuffer::allocate(std::uint64_t{1} << 33));
    nothing = std::move(space);
    const auto lookup = [&](std::string_view name, bool optional) -> Result<quant::TensorView> {
      for (const ExpectedTensor& tensor : expected_) {
        if (tensor.name != name) continue;
        const bool vector = tensor.rule->role == Role::kVector;
        return quant::TensorView{vector ? Encoding::kF32 : Encoding::kBF16,
                                 vector ? Layout::kPlain : Layout::kPanel16,
                                 vector ? 1 : tensor.count,
                                 tensor.rows,
                                 vector ? tensor.cols * tensor.count : tensor.cols,
                                 nothing.data()};
      }
      if (optional) return quant::TensorView{};
      return Error(ErrorCode::kMissing, "a tensor is missing").of(std::string(name));
    };
    QUERN_TRY(graph, architecture_->build(config_, lookup));
    Work work;
    for (const graph::Node& node : graph.nodes) {
      const bool output =
          graph.values[static_cast<std::size_t>(node.out)].rows == graph::Rows::kOutput;
      (output ? work.output_row : work.every_row) += macs_of(graph, node.op, seen);
    }
    return work;
  }

 private:
  static double macs_of(const graph::Graph& graph, const graph::Op& op, double seen) {
    const auto view = [&](graph::WeightId id) {
      return graph.weights[static_cast<std::size_t>(id)].view;
    };
    const auto cols = [&](graph::ValueId id) {
      return static_cast<double>(graph.values[static_cast<std::size_t>(id)].cols);
    };
    if (const auto* linear = std::get_if<graph::LinearOp>(&op))
      return static_cast<double>(view(linear->weight).rows * view(linear->weight).cols);
    if (const auto* experts = std::get_if<graph::ExpertsOp>(&op)) {
      const auto& gate = view(experts->gate);
      return cols(experts->route) / 2 * 3 * static_cast<double>(gate.rows * gate.cols);
    }
    if (const auto* attention = std::get_if<graph::AttentionOp>(&op)) {
      const graph::KvState& state = graph.states[static_cast<std::size_t>(attention->state)];
      const auto window = static_cast<double>(state.window);
      const double visible = state.window > 0 ? std::min(window, seen) : seen;
      return visible * static_cast<double>(attention->n_heads * (state.head_dim + state.value_dim));
    }
    if (const auto* scan = std::get_if<graph::ScanOp>(&op))
      return 3 * cols(scan->x) * cols(scan->b) / static_cast<double>(scan->groups);
    if (const auto* conv = std::get_if<graph::CausalConvOp>(&op))
      return cols(conv->x) * static_cast<double>(conv->kernel);
    if (const auto* mix = std::get_if<graph::MixOp>(&op))
      return cols(mix->base) * static_cast<double>(mix->xs.size());
    return 0;
  }

  static void add_to(std::map<std::string, FileTensor>& tensors, const ExpectedTensor& expected) {
    const std::string& pattern = expected.hf_names.front();
    const std::size_t part = pattern.find("{e}");
    const auto size = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
    FileTensor tensor;
    tensor.vector = expected.rule->role == Role::kVector;
    const std::int64_t ours = tensor.vector ? expected.cols : expected.rows;
    tensor.shape = {size(expected.hf_rows.whole() ? ours : expected.hf_rows.total)};
    if (!tensor.vector) tensor.shape.push_back(size(expected.cols));
    if (expected.rule->hf_transform == models::Transform::kTranspose)
      std::reverse(tensor.shape.begin(), tensor.shape.end());
    if (part == std::string::npos) {
      if (expected.count > 1) tensor.shape.insert(tensor.shape.begin(), size(expected.count));
      tensors[pattern] = tensor;
      return;
    }
    for (std::int64_t i = 0; i < expected.count; ++i) {
      std::string name = pattern;
      name.replace(part, 3, std::to_string(i));
      tensors[name] = tensor;
    }
  }

  /// Matrices between ±1/16, vectors (norms, biases, rates) between 0.5 and 1: nothing overflows.
  static Status write_random(formats::SafetensorsWriter& writer, const FileTensor& tensor,
                             std::uint64_t& seed) {
    std::uint64_t left = 1;
    for (const std::uint64_t n : tensor.shape) left *= n;
    std::vector<std::uint16_t> piece(std::size_t{1} << 20);
    while (left > 0) {
      const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece.size()));
      for (std::size_t i = 0; i < n; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const auto random = static_cast<float>(static_cast<std::int32_t>(seed >> 32)) * 0x1p-31F;
        const float value = tensor.vector ? 0.75F + 0.25F * random : random / 16;
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        piece[i] = static_cast<std::uint16_t>(bits >> 16);
      }
      QUERN_CHECK(writer.write(std::as_bytes(std::span(piece.data(), n))));
      left -= n;
    }
    return {};
  }

  const models::Architecture* architecture_ = nullptr;
  Config config_;
  std::vector<ExpectedTensor> expected_;
};

Status run(const std::string& folder, std::span<const double> positions,
           std::vector<std::string> more) {
  QUERN_TRY(made, Synthesis::of(folder, std::move(more)));
  std::string text;
  for (const double n : positions) {
    QUERN_TRY(work, made.work(n / 2));  // A row sees half of them on average.
    text += (text.empty() ? "" : ", ") + std::string("{\"positions\": ") + count(n) +
            ", \"row_macs\": " + count(work.every_row) +
            ", \"output_row_macs\": " + count(work.output_row) + "}";
  }
  QUERN_CHECK(made.write(folder + "/model.safetensors"));
  std::printf("{\"parameters\": %s, \"work\": [%s]}\n", count(made.parameters()).c_str(),
              text.c_str());
  return {};
}

}  // namespace
}  // namespace quern::bench

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_synthetic FOLDER PREFILL DECODE [MORE_TENSORS...]\n");
    return 2;
  }
  const double positions[] = {std::atof(argv[2]), std::atof(argv[3])};
  const auto done =
      quern::bench::run(argv[1], positions, std::vector<std::string>(argv + 4, argv + argc));
  if (done.ok()) return 0;
  std::fprintf(stderr, "bench_synthetic: %s\n", done.error().describe().c_str());
  return 1;
}
