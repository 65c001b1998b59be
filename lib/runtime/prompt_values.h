/// \file
/// What the embedded self-test hashes of a prompt.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "quern/session.h"

namespace quern::runtime {

/// Calls `sink` with rows of float32 results of `prompt` from its first token on: the logits
/// `[vocab]` of every token, or for an encoder its hidden states `[dim]`, then the logits of its
/// head, or for an encoder–decoder the encoder's hidden states of `prompt`, then the logits of the
/// decoder that reads it too. Errors: those of Session and Encoder.
Status evaluate_prompt(const Model& model, std::span<const TokenId> prompt, KvType kv,
                       const std::function<Status(std::span<const float> row)>& sink);

/// How many ids such a prompt may take.
std::int64_t prompt_vocabulary(const Model& model);

}  // namespace quern::runtime
