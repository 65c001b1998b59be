/// \file
/// The tensors of the blocks that decoders share (blocks.h), with their published names.
#pragma once

#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

// One rule each, so that a table of tensors reads as one line a tensor.
TensorRule matrix_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                       std::string_view rows, std::string_view cols,
                       Transform gguf_transform = Transform::kNone);
TensorRule bias_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                     std::string_view n, Transform gguf_transform = Transform::kNone);
TensorRule norm_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                     std::string_view n, Transform hf_transform = Transform::kNone);

/// The tensors of embedding, attention_block, gated_mlp and head, in the order of use; `in_layer`
/// are an architecture's own tensors of every layer. \param gguf_qk_transform what GGUF did to wq
/// and wk.
std::vector<TensorRule> decoder_tensors(Transform gguf_qk_transform,
                                        const std::vector<TensorRule>& in_layer = {});

/// Norms of query and key heads.
std::vector<TensorRule> qk_norm_tensors(Transform hf_transform = Transform::kNone);

}  // namespace quern::models
