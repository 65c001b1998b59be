/// \file
/// From a tensor that the architecture expects to the source's bytes that it is made from.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "convert/source_model.h"
#include "models/architecture.h"
#include "quern/result.h"

namespace quern::convert {

/// One matrix of a source: a tensor of it, or one expert's part of a stacked tensor.
struct SourceMatrix {
  const SourceTensor* tensor;
  std::span<const std::byte> data;
  std::span<const std::byte> scales;  ///< As SourceTensor's.
  std::int64_t rows;                  ///< Of the source matrix, before any slice.
};

/// The tensor that part `part` of `expected` may be made from, whatever its shape; nullptr where
/// there is none.
/// \param stacked if not null: whether it holds all parts.
const SourceTensor* find_tensor(const SourceModel& source, const models::ExpectedTensor& expected,
                                std::int64_t part = 0, bool* stacked = nullptr);

/// All tensors but `taken` under names of `expected`, of which the first was taken. None where each
/// part has a tensor of its own, and outside Hugging Face's naming.
std::vector<const SourceTensor*> other_spellings(const SourceModel& source,
                                                 const models::ExpectedTensor& expected,
                                                 const SourceTensor& taken);

/// Finds the sources of all `expected.count` matrices and checks their shapes and types. Empty
/// where an optional tensor is absent. What GGUF keeps in parts (ExpectedTensor::gguf_parts) is one
/// matrix of theirs.
/// Errors: kMissing, kMismatch (shape, size), kUnsupported (a type that cannot be read), naming the
/// tensor.
Result<std::vector<SourceMatrix>> find_matrices(const SourceModel& source,
                                                const models::ExpectedTensor& expected);

/// What the source did to the tensor, and which of its rows are ours.
models::Transform source_transform(const SourceModel& source,
                                   const models::ExpectedTensor& expected,
                                   const SourceTensor& tensor);
/// Whether the source keeps blocks of the tensor's rows transposed.
bool turns_blocks(const SourceModel& source, const models::ExpectedTensor& expected) noexcept;
models::RowRuns source_slice(const SourceModel& source, const models::ExpectedTensor& expected);

}  // namespace quern::convert
