/// \file
/// Asks a finished model the questions that `verify` will ask again.
#pragma once

#include <string>
#include <vector>

#include "formats/self_test.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

struct MadeSelfTest {
  formats::SelfTest test;
  std::vector<std::string> warnings;  ///< What the model cannot answer, e.g. a broken template.
};

/// Records built-in strings → ids → text, one rendered conversation, the logits of a short prompt.
/// Errors: whatever keeps the model from running.
Result<MadeSelfTest> make_self_test(const Model& model);

/// The prompt of the logits: ids spread over the vocabulary, the same ones whatever `count`.
/// \pre vocab_size > 0
std::vector<std::int32_t> self_test_prompt(std::int64_t vocab_size, std::size_t count = 16);

}  // namespace quern::convert
