/// \file
/// From the tensors of a container to the weights that an architecture asks for.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "formats/quern_file.h"
#include "models/architecture.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::runtime {

/// Tensors by name that take precedence over a file's, or that the file has not: adapters.
using ExtraTensors = std::map<std::string, quant::TensorView, std::less<>>;

/// A tensor as a weight. Errors: kOutOfRange, kUnsupported for dims that no weight has.
Result<quant::TensorView> view_of(const formats::TensorEntry& entry,
                                  const formats::QuernFile& file);

/// What a model runs: its graph, and of an encoder–decoder that of the source, whose states are the
/// first of the other's, and of an encoder the layers around its pooling.
struct ModelGraphs {
  graph::Graph graph;
  std::optional<graph::Graph> source;
  std::optional<graph::Graph> row_layers, embedding_layers;  ///< models/sentence_modules.h.
};

/// Checks every tensor that `architecture` expects under `config` against the file, then builds the
/// graphs over views of it. Work in proportion to the number of tensors.
/// Errors: kMissing (a tensor), kMismatch (shape, or an encoding that its role does not allow),
/// kOutOfRange (dimensions), all naming the tensor and the file.
Result<ModelGraphs> build_graphs(const models::Architecture& architecture, const Config& config,
                                 const formats::QuernFile& file, const ExtraTensors& extra = {});

}  // namespace quern::runtime
