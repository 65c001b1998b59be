/// \file
/// From an open container to the shared state of a model.
#pragma once

#include <memory>

#include "formats/quern_file.h"
#include "quern/model.h"
#include "runtime/weights.h"

namespace quern::runtime {

/// Reads configuration, tokenizer and generation defaults, and builds the graph over the file's
/// tensors unless `options.vocabulary_only` or the file has none.
/// Errors: as the parts', naming the file.
Result<std::shared_ptr<const Model::State>> build_model(formats::QuernFile file,
                                                        std::shared_ptr<const void> owner,
                                                        const ModelOptions& options,
                                                        const ExtraTensors& extra = {});

/// `base`'s file with `extra` tensors, on the same executor. \param owner keeps what the views
/// point into; the base is kept beside it.
Result<std::shared_ptr<const Model::State>> rebuild_state(
    const std::shared_ptr<const Model::State>& base, std::shared_ptr<const void> owner,
    const ExtraTensors& extra);

}  // namespace quern::runtime
