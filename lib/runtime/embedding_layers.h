/// \file
/// The small layers that a checkpoint has around its pooling, as programs.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "quern/result.h"

namespace quern {
struct EmbeddingOptions;
}

namespace quern::runtime {

/// One stack of such layers. Rows do not touch one another, so the bits are the same for any
/// number of them at once. Thread rule: one thread, with the model's run_mutex held.
class LayerStack {
 public:
  /// \param graph from an input 0 to the output "embedding".
  static Result<LayerStack> create(const backends::Backend& backend,
                                   std::shared_ptr<const graph::Graph> graph,
                                   const backends::CompileOptions& options);

  std::size_t in() const noexcept { return in_; }
  std::size_t out() const noexcept { return out_; }
  /// `[n, in]` → `[n, out]`, appended. \pre rows.size() is a multiple of in()
  Status run(std::span<const float> rows, std::vector<float>& out);

 private:
  LayerStack() = default;

  std::unique_ptr<backends::Program> program_;
  std::size_t in_ = 0, out_ = 0, most_ = 0;
  std::vector<std::int32_t> tokens_;  ///< Zeros: the graph asks for none, a step counts its rows.
  std::vector<std::int64_t> positions_;
};

}  // namespace quern::runtime
