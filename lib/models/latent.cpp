// Latent attention, its keys and values unfolded before they are cached.
#include "models/blocks.h"

namespace quern::models {
namespace {

constexpr float kLatentNormEps = 1e-6F;  // Whatever the model's other norms use.

}  // namespace

graph::ValueId latent_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                            graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                            const AttentionOptions& options, const Latent& latent) {
  const std::int64_t n = dims.n_heads;
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const auto project = [&](graph::ValueId x, std::string_view part, std::int64_t rows) {
    return g.linear(x, g.matrix(name(part), rows, g.cols(x)), part,
                    g.vector(name(part) + ".bias", rows, true));
  };
  const auto rotate = [&](graph::ValueId x, std::string_view label) {
    return g.rope(x, angles, latent.rotated_dim, options.interleaved, label);
  };
  graph::ValueId queries = h;
  if (latent.q_rank > 0)
    queries = norm_of(g, NormKind::kRms, kLatentNormEps, project(h, "wq_a", latent.q_rank),
                      name("q_a_norm"));
  const graph::ValueId q_plain = project(queries, "wq_plain", n * latent.plain_dim);
  const graph::ValueId q_turned =
      rotate(project(queries, "wq_rotated", n * latent.rotated_dim), "q_rope");
  const graph::ValueId narrow = norm_of(g, NormKind::kRms, kLatentNormEps,
                                        project(h, "wkv_a", latent.kv_rank), name("kv_a_norm"));
  const graph::ValueId k_turned = rotate(project(h, "wk_rotated", latent.rotated_dim), "k_rope");
  const graph::ValueId k_plain = project(narrow, "wk_plain", n * latent.plain_dim);
  const graph::ValueId v = project(narrow, "wv", n * latent.value_dim);
  const graph::ValueId q =
      g.join_heads({q_turned, q_plain, latent.rotated_dim, latent.plain_dim}, "q");
  const graph::ValueId k =
      g.join_heads({k_turned, k_plain, latent.rotated_dim, latent.plain_dim}, "k");
  const graph::StateId state =
      g.kv_state({n, latent.rotated_dim + latent.plain_dim, latent.value_dim, 0});
  const graph::ValueId heads = g.attention({q, k, v, state, n, options.scale}, "attention");
  return g.linear(heads, g.matrix(name("wo"), dims.dim, n * latent.value_dim), "wo",
                  g.vector(name("wo.bias"), dims.dim, true), residual);
}

}  // namespace quern::models
