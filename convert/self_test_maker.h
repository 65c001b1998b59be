/// \file
/// Asks a finished model the questions that `verify` will ask again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/self_test.h"
#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

struct MadeSelfTest {
  formats::SelfTest test;
  std::vector<std::string> warnings;  ///< What the model cannot answer, e.g. a broken template.
};

/// Opens the sealed container at `path` and records: built-in strings → ids → text, one rendered
/// conversation, the logits of a short prompt. Errors: whatever keeps the model from running.
Result<MadeSelfTest> make_self_test(const std::string& path, std::shared_ptr<Executor> executor);

/// The prompt of the logits: ids spread over the vocabulary, the same ones whatever `count`.
/// \pre vocab_size > 0
std::vector<std::int32_t> self_test_prompt(std::int64_t vocab_size, std::size_t count = 16);

}  // namespace quern::convert
