/// \file
/// What the embedded self-test hashes of a prompt.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "quern/session.h"

namespace quern::runtime {

/// Calls `sink` with rows of float32 results of `prompt` from its first token on: the logits
/// `[vocab]` of every token, or for an encoder its hidden states `[dim]`, then the logits of its
/// head. Errors: those of Session and Encoder.
Status evaluate_prompt(const Model& model, std::span<const TokenId> prompt, KvType kv,
                       const std::function<Status(std::span<const float> row)>& sink);

}  // namespace quern::runtime
