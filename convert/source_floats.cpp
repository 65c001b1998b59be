#include "convert/source_floats.h"

#include <algorithm>
#include <cstring>

#include "convert/panel_encoder.h"
#include "formats/byte_reader.h"
#include "quern/checked.h"

namespace quern::convert {
namespace {

/// The number of rows; 0 where the product overflows or nothing is there.
std::uint64_t rows_of(const SourceTensor& tensor) {
  std::uint64_t rows = tensor.shape.empty() ? 0 : 1;
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i)
    rows = checked_mul(rows, tensor.shape[i]).value_or(0);
  return rows;
}

}  // namespace

std::int64_t dim(const SourceTensor& tensor, std::size_t place) noexcept {
  return place < tensor.shape.size() ? static_cast<std::int64_t>(tensor.shape[place]) : 0;
}

bool is_shape(const SourceTensor& tensor, std::initializer_list<std::int64_t> shape) noexcept {
  return std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end(),
                    [](std::uint64_t have, std::int64_t want) {
                      return static_cast<std::int64_t>(have) == want;
                    });
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const auto n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

Result<std::vector<float>> source_floats(const SourceModel& source, const SourceTensor& tensor,
                                         const std::string& name) {
  const auto error = [&](ErrorCode code, const char* sentence) {
    return Error(code, sentence).in_file(source.path()).of(formats::quote(name));
  };
  const auto* info = tensor.encoding ? find_encoding(*tensor.encoding) : nullptr;
  const auto* ops = info == nullptr ? nullptr : quant::find_ops(*tensor.encoding);
  if (ops == nullptr || !info->weight || tensor.layout != Layout::kPlain)
    return error(ErrorCode::kUnsupported, "quern cannot read this tensor's type")
        .got(tensor.type_name);
  const std::uint64_t rows = rows_of(tensor);
  const std::int64_t cols = tensor.shape.empty() ? 0 : dim(tensor, tensor.shape.size() - 1);
  const auto bytes = checked_mul(rows, cols < 1 ? 0 : ops->foreign_row_bytes(cols));
  if (rows == 0 || cols < 1 || bytes != tensor.data.size())
    return error(ErrorCode::kMismatch, "a tensor has another size than its shape and type say")
        .got(std::to_string(tensor.data.size()) + " bytes for " + shape_text(tensor.shape));
  MatrixJob job;
  job.name = name;
  job.source = &tensor;
  job.data = tensor.data;
  job.rows = job.source_rows = static_cast<std::int64_t>(rows);
  job.cols = cols;
  job.from = *tensor.encoding;
  job.to = Encoding::kF32;
  job.layout = Layout::kPlain;
  return job_values(job);
}

}  // namespace quern::convert
