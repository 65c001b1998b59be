// Foreign adapters converted into memory, so that the core knows one form.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/guard.h"
#include "convert/adapter_source.h"
#include "convert/convert.h"
#include "convert/expert_pairs.h"
#include "convert/panel_encoder.h"
#include "convert/row_norms.h"
#include "convert/tensor_match.h"
#include "formats/atomic_file.h"
#include "formats/byte_reader.h"
#include "formats/quern_writer.h"
#include "graph/adapter_scales.h"
#include "runtime/adapter_state.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;
using models::Role;
using models::Transform;

/// A float32 tensor of the container to be. A vector has one row.
struct AdapterTensor {
  std::string name;
  std::int64_t rows, cols;
  bool is_matrix;
  std::vector<float> values;  ///< Row-major.
  std::int64_t count = 1;     ///< Matrices, one behind the other.
};

/// The rows of a source matrix as the engine has them, times `factor`.
Status read_rows(MatrixJob job, float factor, AdapterTensor& out) {
  job.to = Encoding::kF32;
  job.layout = Layout::kPlain;
  QUERN_TRY(values, job_values(job));
  out.values = std::move(values);
  for (float& value : out.values) value *= factor;
  return {};
}

/// Collects the container's tensors.
class AdapterMaker {
 public:
  AdapterMaker(const AdapterSource& source, const Model& base) : source_(source), base_(base) {}

  Status add(const ExpectedTensor& expected) {
    const bool vector = expected.rule->role == Role::kVector;
    if (expected.count != 1 && !vector) return add_experts(expected);
    // B has the matrix's rows, whichever way the checkpoint keeps the matrix itself.
    models::TensorRule rule = *expected.rule;
    if (!vector && rule.hf_transform == Transform::kTranspose) rule.hf_transform = Transform::kNone;
    ExpectedTensor part = expected;
    part.rule = &rule;
    part.optional = true;
    const SourceTensor* found = find_tensor(source_, part);
    if (found == nullptr) return {};
    const MatrixUpdate* update = source_.update_of(found->name);
    if (!vector && update == nullptr) return {};
    if (!vector && update->change == MatrixChange::kInputScale)
      return add_input_scale(expected, *found, *update);
    if (!vector) part.cols = static_cast<std::int64_t>(found->shape[1]);
    QUERN_TRY(matrices, find_matrices(source_, part));
    used_.insert(found->name);
    std::vector<MatrixJob> jobs;  // Several of a vector of experts' alone.
    for (const SourceMatrix& matrix : matrices) {
      MatrixJob job = job_of(part, matrix, vector);
      QUERN_TRY(change, make_change(source_transform(source_, part, *found), Transform::kNone,
                                    job.rows, source_.config()));
      job.change = change;
      job.change.slice = source_slice(source_, part);
      jobs.push_back(std::move(job));
    }
    if (vector) return add_vector(expected.name, jobs);
    return update->change == MatrixChange::kPair
               ? add_pair(expected, jobs.front(), *update)
               : add_vector(expected.name + std::string(graph::kOutputScale), jobs);
  }

  /// Errors: kMismatch for a tensor that changed nothing.
  Result<std::vector<AdapterTensor>> finish() && {
    for (const SourceTensor& tensor : source_.tensors()) {
      if (used_.count(tensor.name) != 0) continue;
      return Error(ErrorCode::kMismatch, "the adapter changes a tensor that the model lacks")
          .in_file(source_.path())
          .of(formats::quote(tensor.name));
    }
    return std::move(tensors_);
  }

 private:
  static MatrixJob job_of(const ExpectedTensor& part, const SourceMatrix& matrix, bool vector) {
    MatrixJob job;
    job.name = part.name;
    job.source = matrix.tensor;
    job.data = matrix.data;
    job.source_rows = matrix.rows;
    job.rows = vector ? part.cols : part.rows;
    job.cols = vector ? 1 : part.cols;
    job.from = *matrix.tensor->encoding;
    return job;
  }

  Status add_experts(const ExpectedTensor& expected) {
    QUERN_TRY(pairs, read_expert_pairs(source_, expected));
    if (!pairs) return {};
    used_.insert(pairs->used.begin(), pairs->used.end());
    tensors_.push_back({expected.name + std::string(runtime::kLoraA), pairs->rank, expected.cols,
                        true, std::move(pairs->a), expected.count});
    tensors_.push_back({expected.name + std::string(runtime::kLoraB), expected.rows, pairs->rank,
                        true, std::move(pairs->b), expected.count});
    return {};
  }

  /// Factors of the input: no rule moves a matrix's columns.
  Status add_input_scale(const ExpectedTensor& expected, const SourceTensor& tensor,
                         const MatrixUpdate& update) {
    if (!tensor.encoding) return unreadable(update, tensor);
    if (tensor.shape[1] != static_cast<std::uint64_t>(expected.cols))
      return other_model(update, expected.cols, tensor.shape[1]);
    used_.insert(tensor.name);
    return add_vector(expected.name + std::string(graph::kInputScale),
                      {{column_job(update, tensor, expected.cols)}});
  }

  Error other_model(const MatrixUpdate& update, std::int64_t want, std::uint64_t got) const {
    return Error(ErrorCode::kMismatch, "the adapter was made for another model")
        .in_file(source_.path())
        .of(formats::quote(update.module))
        .want("an input of " + std::to_string(want))
        .got(std::to_string(got));
  }

  Error unreadable(const MatrixUpdate& update, const SourceTensor& tensor) const {
    return Error(ErrorCode::kUnsupported, "quern cannot read this tensor's type")
        .in_file(source_.path())
        .of(formats::quote(update.module))
        .got(tensor.type_name);
  }

  /// A tensor's numbers as one column.
  static MatrixJob column_job(const MatrixUpdate& update, const SourceTensor& tensor,
                              std::int64_t rows) {
    MatrixJob job;
    job.name = update.module;
    job.source = &tensor;
    job.data = tensor.data;
    job.rows = job.source_rows = rows;
    job.cols = 1;
    job.from = *tensor.encoding;
    return job;
  }

  /// The jobs' rows one behind the other.
  Status add_vector(const std::string& name, const std::vector<MatrixJob>& jobs) {
    AdapterTensor all{name, 1, 0, false, {}};
    for (const MatrixJob& job : jobs) {
      AdapterTensor part{name, 1, job.rows, false, {}};
      QUERN_CHECK(read_rows(job, 1.0F, part));
      all.cols += part.cols;
      all.values.insert(all.values.end(), part.values.begin(), part.values.end());
    }
    tensors_.push_back(std::move(all));
    return {};
  }

  Status add_pair(const ExpectedTensor& expected, const MatrixJob& job, const MatrixUpdate& pair) {
    if (pair.a.shape[1] != static_cast<std::uint64_t>(expected.cols))
      return other_model(pair, expected.cols, pair.a.shape[1]);
    if (!pair.a.encoding) return unreadable(pair, pair.a);
    AdapterTensor b{expected.name + std::string(runtime::kLoraB), job.rows, job.cols, true, {}};
    QUERN_CHECK(read_rows(job, pair.scale.of(static_cast<std::uint64_t>(job.cols)), b));
    MatrixJob first;
    first.name = pair.module;
    first.source = &pair.a;
    first.data = pair.a.data;
    first.rows = first.source_rows = job.cols;
    first.cols = expected.cols;
    first.from = *pair.a.encoding;
    AdapterTensor a{expected.name + std::string(runtime::kLoraA), first.rows, first.cols, true, {}};
    QUERN_CHECK(read_rows(first, 1.0F, a));
    if (pair.magnitude) QUERN_CHECK(add_magnitudes(expected.name, job, pair, a, b));
    tensors_.push_back(std::move(a));
    tensors_.push_back(std::move(b));
    return {};
  }

  /// m ∘ (W + B·A) / ‖W + B·A‖ = d ∘ W + (d ∘ B)·A: B gets the factors d, and so does W·x.
  Status add_magnitudes(const std::string& name, const MatrixJob& rows, const MatrixUpdate& pair,
                        const AdapterTensor& a, AdapterTensor& b) {
    MatrixJob job = column_job(pair, *pair.magnitude, b.rows);
    job.source_rows = rows.source_rows;
    job.change = rows.change;
    AdapterTensor factors{name + std::string(graph::kProductScale), 1, b.rows, false, {}};
    QUERN_CHECK(read_rows(job, 1.0F, factors));
    QUERN_TRY(norms, row_norms(base_, name, a.values, b.values, b.cols));
    for (std::size_t row = 0; row < norms.size(); ++row) {
      if (!(norms[row] > 0.0F) || !std::isfinite(norms[row]))
        return Error(ErrorCode::kOutOfRange, "a row has no length that DoRA could divide by")
            .in_file(source_.path())
            .of(formats::quote(pair.module));
      factors.values[row] /= norms[row];
      for (std::int64_t k = 0; k < b.cols; ++k)
        b.values[row * static_cast<std::size_t>(b.cols) + static_cast<std::size_t>(k)] *=
            factors.values[row];
    }
    tensors_.push_back(std::move(factors));
    return {};
  }

  const AdapterSource& source_;
  const Model& base_;
  std::set<std::string> used_;
  std::vector<AdapterTensor> tensors_;
};

/// The tensor's bytes in the container.
std::vector<std::byte> packed(const AdapterTensor& tensor) {
  const auto* values = reinterpret_cast<const std::byte*>(tensor.values.data());
  if (!tensor.is_matrix) return {values, values + tensor.values.size() * sizeof(float)};
  const EncodingInfo& info = *find_encoding(Encoding::kF32);
  const std::uint64_t stride =
      panel_bytes(info, static_cast<std::uint64_t>(tensor.cols)).value_or(0);
  const std::int64_t panels = (tensor.rows + quant::kPanelRows - 1) / quant::kPanelRows;
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.count * panels) * stride);
  for (std::int64_t panel = 0; panel < tensor.count * panels; ++panel) {
    const std::byte* rows[quant::kPanelRows] = {};
    const std::int64_t first = panel / panels * tensor.rows;
    for (std::int64_t r = 0; r < quant::kPanelRows; ++r) {
      const std::int64_t row = panel % panels * quant::kPanelRows + r;
      if (row < tensor.rows) {
        rows[r] = values + static_cast<std::size_t>((first + row) * tensor.cols) * sizeof(float);
      }
    }
    quant::find_ops(Encoding::kF32)
        ->interleave_panel(rows, tensor.cols,
                           bytes.data() + static_cast<std::uint64_t>(panel) * stride);
  }
  return bytes;
}

Result<formats::MemoryImage> write_container(const std::vector<AdapterTensor>& tensors,
                                             const AdapterSource& source) {
  formats::Json config = formats::Json::object();
  config["adapter"] = std::string(source.kind());
  config["architecture"] = std::string(source.architecture()->name);
  formats::MemorySink sink(source.path());
  QUERN_TRY(writer, formats::QuernWriter::to_sink(sink, formats::dump_json(config)));
  for (const AdapterTensor& tensor : tensors) {
    std::vector<std::uint64_t> dims;
    if (tensor.count > 1) dims.push_back(static_cast<std::uint64_t>(tensor.count));
    if (tensor.is_matrix) dims.push_back(static_cast<std::uint64_t>(tensor.rows));
    dims.push_back(static_cast<std::uint64_t>(tensor.cols));
    QUERN_CHECK(writer.declare_tensor(tensor.name, Encoding::kF32,
                                      tensor.is_matrix ? Layout::kPanel16 : Layout::kPlain, dims));
  }
  QUERN_CHECK(writer.begin());
  for (const AdapterTensor& tensor : tensors) QUERN_CHECK(writer.write(packed(tensor)));
  QUERN_CHECK(writer.finish());
  return std::move(sink).take();
}

Result<formats::MemoryImage> make_container(const std::string& path, const Model& base) {
  QUERN_TRY(source, open_adapter_source(path, base));
  QUERN_TRY(expected, models::expected_tensors(*source->architecture(), source->config()));
  AdapterMaker maker(*source, base);
  for (const ExpectedTensor& tensor : expected) QUERN_CHECK(maker.add(tensor));
  QUERN_TRY(tensors, std::move(maker).finish());
  return write_container(tensors, *source);
}

bool is_container(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) return false;
  const auto format = sniff_source(path);
  return format.ok() && *format == SourceFormat::kQuern;
}

}  // namespace

Result<Adapter> open_adapter(const std::string& path, const Model& base) {
  return base::guarded([&]() -> Result<Adapter> {
    if (is_container(path)) {
      QUERN_TRY(adapter, Adapter::open(path));
      QUERN_TRY(fits, with_adapters(base, std::array{AdapterUse{adapter}}));
      static_cast<void>(fits);
      return adapter;
    }
    QUERN_TRY(image, make_container(path, base));
    auto owner = std::make_shared<formats::MemoryImage>(std::move(image));
    const std::span<const std::byte> bytes = std::as_const(*owner).bytes();
    return Adapter::from_memory(std::move(owner), bytes, path);
  });
}

Status convert_adapter(const std::string& path, const Model& base, const std::string& output) {
  return base::guarded([&]() -> Status {
    if (formats::same_file(path, output) || formats::same_file(base.path(), output))
      return Error(ErrorCode::kInvalidArgument, "the output is the input, which is never touched")
          .in_file(output)
          .of("output")
          .want("another file");
    QUERN_TRY(image, make_container(path, base));
    return formats::write_file_atomically(output, std::as_const(image).bytes());
  });
}

}  // namespace quern::convert
