/// \file
/// What becomes of every tensor, decided and checked before a byte is written.
#pragma once

#include <vector>

#include "convert/baking.h"
#include "convert/convert.h"
#include "convert/encoding_policy.h"
#include "convert/panel_encoder.h"
#include "convert/source_model.h"
#include "quern/result.h"

namespace quern::convert {

/// The public plan and the jobs behind it, in the order of the output. Views into the source.
struct ModelPlan {
  ConvertPlan shown;
  std::vector<TensorJob> jobs;
  std::uint64_t source_bytes = 0;           ///< Of all jobs, for progress.
  Encoding main_encoding = Encoding::kF32;  ///< Of most weights, embeddings aside.
  std::vector<std::string> strays;          ///< UnusedTensors::strays, for the caller to judge.
};

/// Matches every tensor that the architecture expects with the source's, checks shapes and types,
/// and chooses encodings. `shown.output_bytes` is left to the writer.
/// Errors: kMissing and kMismatch naming the tensor; kUnsupported (a type that cannot be read, an
/// encoding that does not exist there); those of the architecture for its configuration.
Result<ModelPlan> make_plan(const SourceModel& source, OutputFormat output,
                            const EncodingPolicy& policy);

/// Whether any matrix gets other bits than its source has.
bool requantizes(const ModelPlan& plan);

/// Has the plan's jobs make what adapters change, which `baked` must outlive. Errors: kUnsupported
/// for a matrix that would keep an encoding that cannot be written; kMismatch for a change of a
/// tensor that the plan lacks.
Status bake_into(ModelPlan& plan, const BakedTensors& baked, const std::string& file);

}  // namespace quern::convert
