/// \file
/// Runs an encoder's graph on several texts in one step, without converter or runtime.
#pragma once

#include <string>
#include <vector>

#include "models/golden_model.h"

namespace quern::test {

struct Text {
  std::vector<std::int32_t> ids, types;
};

/// The unpadded texts of a golden: ids where the mask is 1, with their types.
std::vector<Text> golden_texts(const formats::SafetensorsFile& golden);

/// The first `n` numbers of entry `i` of a golden's batch.
std::vector<float> golden_part(const formats::SafetensorsFile& golden, const std::string& name,
                               std::size_t i, std::size_t n);

class EncoderRunner {
 public:
  static Result<EncoderRunner> create(const GoldenModel& model, int threads,
                                      const std::string& backend = "cpu");

  /// One step with all texts and all rows as outputs.
  Status run(const std::vector<Text>& texts);
  /// The part of an output that belongs to text `i` of the last step.
  std::vector<float> output(const std::string& name, std::size_t i) const;

 private:
  std::shared_ptr<const graph::Graph> graph_;
  std::unique_ptr<backends::Program> program_;
  std::vector<std::int32_t> starts_;  ///< And the end of the last.
};

}  // namespace quern::test
