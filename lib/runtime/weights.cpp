#include "runtime/weights.h"

#include <limits>
#include <string>
#include <vector>

#include "models/sentence_modules.h"

namespace quern::runtime {
namespace {

std::string shape_text(std::int64_t batch, std::int64_t rows, std::int64_t cols) {
  std::string text = "[";
  if (batch != 1) text += std::to_string(batch) + ", ";
  if (rows != 1) text += std::to_string(rows) + ", ";
  return text + std::to_string(cols) + "]";
}

Status check_tensor(const models::ExpectedTensor& expected, const formats::TensorEntry& entry,
                    const formats::QuernFile& file) {
  QUERN_TRY(view, view_of(entry, file));
  const bool vector = expected.rule->role == models::Role::kVector;
  // The parts of a vector lie in one row.
  const std::int64_t batch = vector ? 1 : expected.count;
  const std::int64_t cols = vector ? expected.count * expected.cols : expected.cols;
  if (view.batch != batch || view.rows != expected.rows || view.cols != cols)
    return Error(ErrorCode::kMismatch, "a tensor's shape contradicts the configuration")
        .in_file(file.path())
        .of(expected.name)
        .want(shape_text(batch, expected.rows, cols))
        .got(shape_text(view.batch, view.rows, view.cols));
  const EncodingInfo* info = find_encoding(view.encoding);
  const bool fits = vector ? view.encoding == Encoding::kF32 && view.layout == Layout::kPlain
                           : info != nullptr && info->weight;
  if (!fits)
    return Error(ErrorCode::kMismatch,
                 "a tensor is stored in an encoding that its use does not allow")
        .in_file(file.path())
        .of(expected.name)
        .want(vector ? "plain f32" : "an encoding for weights")
        .got(info == nullptr ? "an unknown encoding" : std::string(info->name));
  return {};
}

Error missing(std::string_view name, const formats::QuernFile& file) {
  return Error(ErrorCode::kMissing, "the model lacks a tensor")
      .in_file(file.path())
      .of(std::string(name));
}

}  // namespace

Result<quant::TensorView> view_of(const formats::TensorEntry& entry,
                                  const formats::QuernFile& file) {
  const std::span dims(entry.dims.data(), static_cast<std::size_t>(entry.n_dims));
  for (const std::uint64_t dim : dims) {
    if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
      return Error(ErrorCode::kOutOfRange, "a tensor's dimension is too large")
          .in_file(file.path())
          .of(std::string(entry.name))
          .got(std::to_string(dim));
  }
  if (entry.n_dims > 3)
    return Error(ErrorCode::kUnsupported, "a weight has more than three dimensions")
        .in_file(file.path())
        .of(std::string(entry.name));
  const auto dim_from_end = [&dims](std::size_t place) {
    return dims.size() > place ? static_cast<std::int64_t>(dims[dims.size() - 1 - place]) : 1;
  };
  quant::TensorView view;
  view.encoding = entry.encoding;
  view.layout = entry.layout;
  view.cols = dim_from_end(0);
  view.rows = dim_from_end(1);
  view.batch = dim_from_end(2);
  view.data = entry.data.data();
  return view;
}

Result<ModelGraphs> build_graphs(const models::Architecture& architecture, const Config& config,
                                 const formats::QuernFile& file, const ExtraTensors& extra) {
  QUERN_TRY(expected, models::expected_tensors(architecture, config));
  for (const models::ExpectedTensor& tensor : expected) {
    const formats::TensorEntry* entry = file.find(tensor.name);
    if (entry != nullptr)
      QUERN_CHECK(check_tensor(tensor, *entry, file));
    else if (!tensor.optional)
      return missing(tensor.name, file);
  }
  const models::WeightLookup lookup = [&](std::string_view name,
                                          bool optional) -> Result<quant::TensorView> {
    const auto found = extra.find(name);
    if (found != extra.end()) return found->second;
    const formats::TensorEntry* entry = file.find(name);
    if (entry != nullptr) return view_of(*entry, file);
    if (optional) return quant::TensorView{};
    return missing(name, file);
  };
  ModelGraphs graphs;
  QUERN_TRY(graph, architecture.build(config, lookup));
  graphs.graph = std::move(graph);
  if (architecture.build_source != nullptr) {
    QUERN_TRY(source, architecture.build_source(config, lookup));
    graphs.source = std::move(source);
  }
  QUERN_TRY(rows, models::build_sentence_graph(config, models::ModuleStage::kRows, lookup));
  QUERN_TRY(pooled, models::build_sentence_graph(config, models::ModuleStage::kEmbedding, lookup));
  graphs.row_layers = std::move(rows);
  graphs.embedding_layers = std::move(pooled);
  return graphs;
}

}  // namespace quern::runtime
