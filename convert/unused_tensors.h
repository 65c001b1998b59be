/// \file
/// Tensors of a source that no rule of its family uses: which of them may be left out, and why.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "quern/result.h"

namespace quern::convert {

/// What is left of a source's tensors once the rules have taken theirs.
struct UnusedTensors {
  /// Whole parts that published checkpoints hold and this architecture leaves out by design: one
  /// sentence for each kind.
  std::vector<std::string> left_out;
  /// All others: weights that the computation may have needed.
  std::vector<std::string> strays;
};

using TensorSet = std::set<const SourceTensor*>;

/// Sorts what is neither in `used` nor in `copies` of those. Buffers, whose values stand in the
/// configuration, are in neither list.
UnusedTensors find_unused(const SourceModel& source, const TensorSet& used,
                          const TensorSet& copies);

/// "1 tensor of the source is not used: …", with the first names. \pre there is one
std::string describe_strays(const std::vector<std::string>& strays);

/// kUnsupported naming them, unless there are none.
Status refuse_strays(const std::string& file, const std::vector<std::string>& strays);

}  // namespace quern::convert
