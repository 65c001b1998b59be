/// \file
/// Small tensors of a source as floats.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "quern/result.h"

namespace quern::convert {

/// All numbers of a tensor, row-major. \param name what errors call it. Errors: kUnsupported (a
/// type that cannot be read), kMismatch (a size that its shape does not have), kOutOfRange (NaN,
/// infinity).
Result<std::vector<float>> source_floats(const SourceModel& source, const SourceTensor& tensor,
                                         const std::string& name);

/// A dimension, outermost first; 0 where there is none.
std::int64_t dim(const SourceTensor& tensor, std::size_t place) noexcept;
bool is_shape(const SourceTensor& tensor, std::initializer_list<std::int64_t> shape) noexcept;
/// "[2, 3]"
std::string shape_text(std::span<const std::uint64_t> shape);

}  // namespace quern::convert
