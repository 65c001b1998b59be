#include "convert/tensor_match.h"

#include <algorithm>

#include "formats/byte_reader.h"
#include "quant/registry.h"
#include "quern/checked.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;
using models::Role;
using models::Transform;
using Shape = std::vector<std::uint64_t>;

/// Prefixes under which published files keep the base model.
constexpr std::string_view kPrefixes[] = {"",
                                          "model.",
                                          "transformer.",
                                          "gpt_neox.",
                                          "backbone.",
                                          "model.decoder.",
                                          "decoder.",
                                          "language_model.model.",
                                          "model.language_model.",
                                          "language_model."};
constexpr std::string_view kPart = "{e}";

std::string show_shape(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const auto n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

bool names_parts(std::string_view name) { return name.find(kPart) != std::string_view::npos; }

std::string with_part(std::string name, std::int64_t part) {
  const std::size_t at = name.find(kPart);
  if (at != std::string::npos) name.replace(at, kPart.size(), std::to_string(part));
  return name;
}

/// \return the tensor of part `part`; for a name without parts that of all of them.
const SourceTensor* find_source(const SourceModel& source, const ExpectedTensor& expected,
                                std::int64_t part, bool& stacked) {
  stacked = true;
  if (source.naming() == Naming::kCanonical) return source.find(expected.name);
  if (source.naming() == Naming::kGguf) return source.find(expected.gguf_name);
  for (const std::string& name : expected.hf_names) {
    stacked = !names_parts(name);
    const std::string wanted = with_part(name, part);
    for (const auto prefix : kPrefixes) {
      if (const auto* found = source.find(std::string(prefix) + wanted)) return found;
    }
  }
  return nullptr;
}

Error missing_tensor(const SourceModel& source, const ExpectedTensor& expected, std::int64_t part) {
  std::string wanted = expected.gguf_name;
  if (source.naming() == Naming::kCanonical) wanted = expected.name;
  if (source.naming() == Naming::kHuggingFace) {
    wanted.clear();
    for (const auto& name : expected.hf_names)
      wanted += (wanted.empty() ? "" : " or ") + with_part(name, part);
  }
  return Error(ErrorCode::kMissing, "the model lacks a tensor")
      .in_file(source.path())
      .of(expected.name)
      .want(wanted + " of shape " +
            show_shape(Shape{static_cast<std::uint64_t>(expected.rows),
                             static_cast<std::uint64_t>(expected.cols)}));
}

/// Leading dimensions of 1 carry nothing.
std::span<const std::uint64_t> without_ones(std::span<const std::uint64_t> shape,
                                            std::size_t keep) {
  while (shape.size() > keep && shape.front() == 1) shape = shape.subspan(1);
  return shape;
}

/// What one matrix of the source looks like.
struct SourceShape {
  std::int64_t rows, cols;
  bool vector, transposed;
  /// Rows in which a vector may lie instead of in one; 1: not known.
  std::uint64_t cut = 1;
};

SourceShape source_shape(const SourceModel& source, const ExpectedTensor& expected,
                         const SourceTensor& tensor) {
  const bool vector = expected.rule->role == Role::kVector;
  if (source.naming() == Naming::kGguf && expected.gguf_parts > 0) {
    const std::int64_t rows = expected.rows / expected.gguf_parts;
    if (turns_blocks(source, expected)) return {expected.cols, rows, false, false};
    return {rows, expected.cols, false, false};
  }
  SourceShape shape{vector ? expected.cols : expected.rows, vector ? 1 : expected.cols, vector,
                    source_transform(source, expected, tensor) == Transform::kTranspose};
  const models::RowRuns slice = source_slice(source, expected);
  if (!slice.whole()) {
    shape.rows = slice.total;
  } else if (vector) {
    const auto rows = models::evaluate_dimension(expected.rule->rows, source.config());
    if (rows.ok()) shape.cut = static_cast<std::uint64_t>(*rows);
  }
  return shape;
}

Status check_shape(const SourceModel& source, const SourceTensor& tensor, const SourceShape& shape,
                   std::int64_t parts) {
  Shape want{static_cast<std::uint64_t>(shape.rows)};
  if (!shape.vector) want.push_back(static_cast<std::uint64_t>(shape.cols));
  if (shape.transposed) std::reverse(want.begin(), want.end());
  const Shape flat{static_cast<std::uint64_t>(parts) * want.front()};
  if (parts > 1) want.insert(want.begin(), static_cast<std::uint64_t>(parts));
  const auto matches = [&](const Shape& wanted) {
    const auto have = without_ones(tensor.shape, wanted.size());
    return std::equal(have.begin(), have.end(), wanted.begin(), wanted.end());
  };
  const Shape row(want.begin() + (want.size() > 1 && want.front() == 1 ? 1 : 0), want.end());
  // The elements of a small tensor (a convolution's kernels) are one vector.
  std::uint64_t elements = 1;
  for (const std::uint64_t n : tensor.shape) elements *= n;
  const auto cut = without_ones(tensor.shape, 1);
  const bool small = shape.vector && parts == 1 && tensor.shape.size() > 1 &&
                     elements == flat.front() && (shape.cut == 1 || cut.front() == shape.cut);
  if (matches(want) || matches(row) || (shape.vector && matches(flat)) || small) return {};
  return Error(ErrorCode::kMismatch, "a tensor's shape disagrees with the configuration")
      .in_file(source.path())
      .of(formats::quote(tensor.name))
      .want(show_shape(want))
      .got(show_shape(tensor.shape));
}

/// Whether the type can be read at all, and lies there in the size that the shape needs.
Status check_type(const SourceModel& source, const SourceTensor& tensor, const SourceShape& shape,
                  std::int64_t parts) {
  const bool only_floats = shape.vector || shape.transposed;
  const auto* info = tensor.encoding ? find_encoding(*tensor.encoding) : nullptr;
  const auto* ops = tensor.encoding ? quant::find_ops(*tensor.encoding) : nullptr;
  const bool block = info != nullptr && info->streams[0].k_step != 1;
  if (info == nullptr || ops == nullptr || !info->weight || (only_floats && block)) {
    return Error(ErrorCode::kUnsupported, "quern cannot read this tensor's type")
        .in_file(source.path())
        .of(formats::quote(tensor.name))
        .want(only_floats ? "F32, F16 or BF16" : "a float type or a block encoding of GGUF")
        .got(formats::quote(tensor.type_name));
  }
  const auto rows = static_cast<std::uint64_t>(shape.rows),
             cols = static_cast<std::uint64_t>(shape.cols);
  auto bytes = tensor_bytes(*info, tensor.layout, rows, cols);
  if (tensor.layout == Layout::kPlain)
    bytes = checked_mul(rows, ops->foreign_row_bytes(shape.cols));
  if (bytes) bytes = checked_mul(*bytes, static_cast<std::uint64_t>(parts));
  if (bytes == tensor.bytes()) return {};
  return Error(ErrorCode::kMismatch, "a tensor has another size than its shape and type say")
      .in_file(source.path())
      .of(formats::quote(tensor.name))
      .want(bytes ? std::to_string(*bytes) + " bytes" : "a size that can be counted")
      .got(std::to_string(tensor.bytes()));
}

}  // namespace

bool turns_blocks(const SourceModel& source, const ExpectedTensor& expected) noexcept {
  return source.naming() == Naming::kGguf && expected.gguf_parts > 0 &&
         expected.gguf_transform == Transform::kTranspose;
}

Transform source_transform(const SourceModel& source, const ExpectedTensor& expected,
                           const SourceTensor& tensor) {
  switch (source.naming()) {
    case Naming::kCanonical:
      return Transform::kNone;
    case Naming::kGguf:
      return turns_blocks(source, expected) ? Transform::kNone : expected.gguf_transform;
    case Naming::kHuggingFace:
      break;
  }
  // Blocks lie along the inputs of a row, so that what is `[in, out]` as floats is `[out, in]`
  // here.
  const Transform transform = expected.rule->hf_transform;
  const bool turned = !tensor.scales.empty() && transform == Transform::kTranspose;
  return turned ? Transform::kNone : transform;
}

models::RowRuns source_slice(const SourceModel& source, const ExpectedTensor& expected) {
  switch (source.naming()) {
    case Naming::kCanonical:
      return {};
    case Naming::kGguf:
      return expected.gguf_rows;
    case Naming::kHuggingFace:
      break;
  }
  return expected.hf_rows;
}

const SourceTensor* find_tensor(const SourceModel& source, const ExpectedTensor& expected,
                                std::int64_t part, bool* stacked) {
  bool all = true;
  const SourceTensor* found = find_source(source, expected, part, all);
  if (stacked != nullptr) *stacked = all;
  return found;
}

std::vector<const SourceTensor*> other_spellings(const SourceModel& source,
                                                 const ExpectedTensor& expected,
                                                 const SourceTensor& taken) {
  std::vector<const SourceTensor*> others;
  if (source.naming() != Naming::kHuggingFace) return others;
  for (const std::string& name : expected.hf_names) {
    if (names_parts(name)) continue;
    for (const auto prefix : kPrefixes) {
      const SourceTensor* found = source.find(std::string(prefix) + name);
      if (found != nullptr && found != &taken) others.push_back(found);
    }
  }
  return others;
}

Result<std::vector<SourceMatrix>> find_matrices(const SourceModel& source,
                                                const ExpectedTensor& expected) {
  std::vector<SourceMatrix> matrices;
  bool stacked = true;
  const SourceTensor* tensor = find_source(source, expected, 0, stacked);
  if (tensor == nullptr) {
    if (expected.optional) return matrices;
    return missing_tensor(source, expected, 0);
  }
  const SourceShape shape = source_shape(source, expected, *tensor);
  if (source.naming() == Naming::kGguf && expected.gguf_parts > 0) {
    QUERN_CHECK(check_shape(source, *tensor, shape, expected.gguf_parts));
    QUERN_CHECK(check_type(source, *tensor, shape, expected.gguf_parts));
    return std::vector<SourceMatrix>{{tensor, tensor->data, {}, shape.rows * expected.gguf_parts}};
  }
  const std::int64_t parts = stacked ? expected.count : 1;
  for (std::int64_t i = 0; i < expected.count; ++i) {
    if (!stacked) tensor = find_source(source, expected, i, stacked);
    if (tensor == nullptr) return missing_tensor(source, expected, i);
    if (i == 0 || !stacked) {
      QUERN_CHECK(check_shape(source, *tensor, shape, parts));
      QUERN_CHECK(check_type(source, *tensor, shape, parts));
    }
    const auto part_of = [&](std::span<const std::byte> bytes) {
      const std::size_t size = bytes.size() / static_cast<std::size_t>(parts);
      return bytes.subspan(stacked ? static_cast<std::size_t>(i) * size : 0, size);
    };
    matrices.push_back({tensor, part_of(tensor->data), part_of(tensor->scales), shape.rows});
  }
  return matrices;
}

}  // namespace quern::convert
