/// \file
/// Small tokenizers for tests that need no golden: the fixture's pipelines.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/tokenizer_spec.h"

namespace quern::testing {

/// fixtures/pipelines.json.
const formats::Json& pipeline_fixture();
/// tokenizer.json of pipeline `i`, assembled from the fixture's parts.
formats::Json pipeline_json(std::size_t i);
/// tokenizer.json of one of the fixture's models with a pre-tokenizer (null for none).
formats::Json model_json(const std::string& model, const formats::Json& pre_tokenizer);
/// Reads and compiles; fails the test where that fails.
std::vector<std::byte> image_of(const formats::Json& tokenizer_json);

}  // namespace quern::testing
