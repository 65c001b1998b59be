/// \file
/// Evaluates a decoder again and again while one of its layers changes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "convert/sample_text.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// The layer below which nothing depends on a matrix; 0 where everything may.
std::int32_t first_layer_of(const graph::Graph& graph, std::string_view matrix);

/// Windows of text whose way through the layers below one is known, and goes on from there. Holds
/// what enters that layer, `[tokens, dim]`, and a cache of the layers from it on. Thread rule: one
/// thread.
class LayerReplay {
 public:
  /// \param layer above 0. \param kv the cache. Errors: kUnsupported where the graph cannot be cut
  /// there (graph/split.h); those of the backend.
  static Result<LayerReplay> create(const Model& model, const TokenWindows& windows,
                                    std::int32_t layer, KvType kv);

  /// Evaluates all windows from the layer on; take(row) for the logits of every scored token, in
  /// order: the bits of evaluate_window (quern/evaluation.h).
  Status visit(const std::function<void(std::span<const float> row)>& take);

 private:
  /// Tokens that are evaluated together.
  struct Step {
    std::vector<TokenId> tokens;
    std::int64_t first = 0;   ///< Position.
    std::int64_t length = 0;  ///< Of the sequence, when all that belongs together is evaluated.
    bool scored = false;
    std::vector<std::vector<float>> inputs;  ///< What crosses into the layer.
  };
  using Program = backends::Program;
  using State = backends::SequenceState;

  explicit LayerReplay(Model model) : model_(std::move(model)) {}
  static std::vector<Step> steps_of(std::span<const TokenId> window);
  Status run(Program& program, State& state, const Step& step,
             std::span<const std::span<const float>> inputs) const;

  Model model_;
  std::unique_ptr<Program> upper_;
  std::unique_ptr<State> state_;
  std::vector<std::vector<Step>> windows_;
};

}  // namespace quern::convert
