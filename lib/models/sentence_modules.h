/// \file
/// What sentence-transformers puts behind an encoder: small layers on its rows, or on the embedding
/// that is pooled of them. One table of tensors and one graph for every encoder.
///
/// Keys: `embedding.steps`, a word for each step ("dense", "normalize", "layer_norm"), of which the
/// first `embedding.n_row_steps` work on rows; `embedding.n_steps`; `embedding.step.{}.in` and
/// `.out`, columns; per step `embedding.dense`, `embedding.dense_bias`, `embedding.residual`,
/// `embedding.layer_norm` (whether it has that tensor) and `embedding.activations` (empty: none).
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Where a module works.
enum class ModuleStage : std::uint8_t { kRows, kEmbedding };

/// The tensors of all steps, `sentence.{}.…`; only of use where `config` has steps.
const std::vector<TensorRule>& sentence_tensors();

/// Whether `config` has steps behind the encoder.
bool has_sentence_steps(const Config& config);

/// The steps of one stage, from an input `[T, in]` to the output "embedding" `[T, out]`; nothing
/// where the stage has none. Errors: kUnsupported by name for a word that is not known.
Result<std::optional<graph::Graph>> build_sentence_graph(const Config& config, ModuleStage stage,
                                                         const WeightLookup& weights);

}  // namespace quern::models
