/// \file
/// From the tensors of a container to the weights that an architecture asks for.
#pragma once

#include "formats/quern_file.h"
#include "models/architecture.h"
#include "quern/config.h"
#include "quern/result.h"

namespace quern::runtime {

/// Checks every tensor that `architecture` expects under `config` against the file, then builds the
/// graph over views of it. Work in proportion to the number of tensors.
/// Errors: kMissing (a tensor), kMismatch (shape, or an encoding that its role does not allow),
/// kOutOfRange (dimensions), all naming the tensor and the file.
Result<graph::Graph> build_graph(const models::Architecture& architecture, const Config& config,
                                 const formats::QuernFile& file);

}  // namespace quern::runtime
