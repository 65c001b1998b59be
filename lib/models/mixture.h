/// \file
/// Mixtures of experts in the place of a decoder's MLP.
#pragma once

#include <string>
#include <vector>

#include "models/blocks.h"
#include "models/decoder_tensors.h"

namespace quern::models {

/// The canonical keys of a mixture in both spellings: n_experts, n_experts_used, expert_ffn_dim,
/// shared_ffn_dim, normalise_experts, by the Hugging Face names of most; a family names its own
/// instead.
std::vector<ConfigKey> mixture_keys();

/// Reads a mixture from a canonical configuration; `mixture_layers`, where it is there, says which
/// layers have one. kOutOfRange, kMismatch.
Result<Mixture> read_mixture(const Config& config);

/// Hugging Face names of a mixture's tensors without ".weight"; `{e}` stands for the expert.
struct MixtureTable {
  std::string router = "layers.{}.mlp.gate";
  std::string gate = "layers.{}.mlp.experts.{e}.gate_proj";
  std::string up = "layers.{}.mlp.experts.{e}.up_proj";
  std::string down = "layers.{}.mlp.experts.{e}.down_proj";
  std::string shared = "";  ///< Stem of the shared expert's "gate_proj" and so on; empty: none.
  std::string shared_gate = "";  ///< Empty: the shared expert counts in full.
  bool fused_gate_up = false;    ///< Gate rows, then up rows, under the name of `up`.
  /// What transformers 5 calls the router and the module over the experts, where that is another
  /// name: adapters made with it use them. Empty: the same.
  std::string newer_router = "", newer_experts = "";
};
std::vector<TensorRule> mixture_tensors(const MixtureTable& table);

/// A decoder's tensors with the MLP of the layers that are no mixtures beside the mixture's.
std::vector<TensorRule> sparse_decoder_tensors(const DecoderTable& decoder,
                                               const MixtureTable& mixture,
                                               std::vector<TensorRule> in_layer = {});

/// residual + the mixture's (and the shared expert's) output; residual kNone: without.
graph::ValueId mixture_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                           graph::ValueId h, graph::ValueId residual, const Mixture& mixture);

}  // namespace quern::models
