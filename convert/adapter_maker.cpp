#include "convert/adapter_maker.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "convert/expert_pairs.h"
#include "convert/panel_encoder.h"
#include "convert/row_norms.h"
#include "convert/tensor_match.h"
#include "formats/byte_reader.h"
#include "graph/adapter_scales.h"
#include "runtime/adapter_state.h"
#include "runtime/model_state.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;
using models::Role;
using models::Transform;

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
    if (!vector) QUERN_CHECK(add_whole(expected));
    if (!vector) QUERN_CHECK(check_copy(expected));
    if (!vector) QUERN_CHECK(add_token_rows(expected));
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
    if (!vector && update->change == MatrixChange::kLookup)
      return add_lookup(expected, *found, *update);
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
      return lacking(tensor.name);
    }
    for (const SourceModel* source : {source_.whole(), source_.copies()}) {
      if (source == nullptr) continue;
      for (const SourceTensor& tensor : source->tensors())
        if (used_whole_.count(tensor.name) == 0) return lacking(tensor.name);
    }
    for (const TokenRows& rows : source_.token_rows()) {
      if (used_rows_.count(rows.module) == 0) return lacking(rows.module);
    }
    return std::move(tensors_);
  }

 private:
  Error lacking(const std::string& name) const {
    return Error(ErrorCode::kMismatch, "the adapter changes a tensor that the model lacks")
        .in_file(source_.path())
        .of(formats::quote(name));
  }

  /// Where the output matrix is the embedding.
  bool is_tied() const {
    const formats::QuernFile& file = base_.state().file;
    return file.find("lm_head") == nullptr && file.find("embed") != nullptr;
  }

  /// A matrix in the place of the base's, or one for every expert.
  Status add_whole(const ExpectedTensor& expected) {
    if (source_.whole() == nullptr) return {};
    ExpectedTensor wanted = expected;
    wanted.optional = true;
    QUERN_TRY(matrices, find_matrices(*source_.whole(), wanted));
    if (matrices.empty()) return {};
    AdapterTensor all{expected.name, expected.rows, expected.cols, true, {}, expected.count};
    for (const SourceMatrix& matrix : matrices) {
      used_whole_.insert(matrix.tensor->name);
      MatrixJob job = job_of(wanted, matrix, false);
      QUERN_TRY(change,
                make_change(source_transform(*source_.whole(), expected, *matrix.tensor),
                            Transform::kNone, job.rows, source_.config()));
      job.change = change;
      job.change.slice = source_slice(*source_.whole(), wanted);
      AdapterTensor part{expected.name, job.rows, job.cols, true, {}};
      QUERN_CHECK(read_rows(job, 1.0F, part));
      all.values.insert(all.values.end(), part.values.begin(), part.values.end());
    }
    tensors_.push_back(std::move(all));
    return {};
  }

  /// What was saved of the base must have its shape, and is not needed: the base has it.
  Status check_copy(const ExpectedTensor& expected) {
    if (source_.copies() == nullptr) return {};
    ExpectedTensor wanted = expected;
    wanted.optional = true;
    QUERN_TRY(matrices, find_matrices(*source_.copies(), wanted));
    for (const SourceMatrix& matrix : matrices) used_whole_.insert(matrix.tensor->name);
    return {};
  }

  /// A tensor's numbers as `[rows, cols]`, as they lie.
  Result<std::vector<float>> floats_of(const MatrixUpdate& update, const SourceTensor& tensor,
                                       std::int64_t rows, std::int64_t cols) const {
    if (!tensor.encoding) return unreadable(update, tensor);
    MatrixJob job = column_job(update, tensor, rows);
    job.cols = cols;
    AdapterTensor out{update.module, rows, cols, true, {}};
    QUERN_CHECK(read_rows(job, 1.0F, out));
    return std::move(out.values);
  }

  /// A pair of a table that is looked up: A's columns become rows of a table of their own.
  Status add_lookup(const ExpectedTensor& expected, const SourceTensor& b,
                    const MatrixUpdate& update) {
    const auto rows = static_cast<std::uint64_t>(expected.rows);
    const auto rank = static_cast<std::int64_t>(b.shape[1]);
    const bool turned = update.a.shape[0] == b.shape[1] && update.a.shape[1] == rows;
    if (!turned && update.a.shape[0] != rows)
      return other_model(update, expected.rows, update.a.shape[1]);
    if (b.shape[0] != static_cast<std::uint64_t>(expected.cols))
      return other_model(update, expected.cols, b.shape[0]);
    if (update.magnitude)
      return Error(ErrorCode::kUnsupported, "DoRA of an embedding is not implemented")
          .in_file(source_.path())
          .of(formats::quote(update.module));
    used_.insert(b.name);
    AdapterTensor table{
        expected.name + std::string(graph::kLookupA), expected.rows, rank, true, {}};
    QUERN_TRY(a, floats_of(update, update.a, turned ? rank : expected.rows,
                           turned ? expected.rows : rank));
    table.values = turned ? transposed(a, rank, expected.rows) : std::move(a);
    AdapterTensor matrix{
        expected.name + std::string(graph::kLookupB), expected.cols, rank, true, {}};
    QUERN_TRY(values, floats_of(update, b, expected.cols, rank));
    const float scale = update.scale.of(static_cast<std::uint64_t>(rank));
    for (float& value : values) value *= scale;
    matrix.values = std::move(values);
    QUERN_CHECK(append_new(std::move(table)));
    return append_new(std::move(matrix));
  }

  static std::vector<float> transposed(const std::vector<float>& from, std::int64_t rows,
                                       std::int64_t cols) {
    std::vector<float> to(from.size());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        to[static_cast<std::size_t>(c * rows + r)] = from[static_cast<std::size_t>(r * cols + c)];
    return to;
  }

  /// New rows of a table are a pair: which id has which, and how far it lies from the old one. The
  /// output matrix gets them too where it is the same.
  Status add_token_rows(const ExpectedTensor& expected) {
    for (const TokenRows& rows : source_.token_rows()) {
      const bool named = std::any_of(expected.hf_names.begin(), expected.hf_names.end(),
                                     [&](const std::string& name) {
                                       const std::string weight = rows.module + ".weight";
                                       return weight == name || weight.ends_with("." + name);
                                     });
      if (!named) continue;
      used_rows_.insert(rows.module);
      QUERN_CHECK(add_token_rows(expected, rows));
    }
    return {};
  }

  Status add_token_rows(const ExpectedTensor& expected, const TokenRows& rows) {
    const auto count = static_cast<std::int64_t>(rows.ids.size());
    const MatrixUpdate update{MatrixChange::kLookup, rows.module};
    const auto& shape = rows.rows.shape;
    if (shape.size() != 2 || shape[0] != rows.ids.size() ||
        shape[1] != static_cast<std::uint64_t>(expected.cols))
      return Error(ErrorCode::kMismatch, "the adapter was made for another model")
          .in_file(source_.path())
          .of(formats::quote(rows.module))
          .want(std::to_string(count) + " rows of " + std::to_string(expected.cols))
          .got(std::to_string(shape.empty() ? 0 : shape.front()) + " of " +
               std::to_string(shape.empty() ? 0 : shape.back()));
    QUERN_TRY(change, floats_of(update, rows.rows, count, expected.cols));
    AdapterTensor table{
        expected.name + std::string(graph::kLookupA), expected.rows, count, true, {}};
    table.values.resize(static_cast<std::size_t>(expected.rows * count));
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t id = rows.ids[static_cast<std::size_t>(i)];
      if (id < 0 || id >= expected.rows)
        return Error(ErrorCode::kOutOfRange, "an adapter's token lies outside the vocabulary")
            .in_file(source_.path())
            .of("trainable_token_indices")
            .want("0 … " + std::to_string(expected.rows - 1))
            .got(std::to_string(id));
      table.values[static_cast<std::size_t>(id * count + i)] = 1.0F;
      QUERN_TRY(old, dequantized_row(base_, expected.name, id));
      for (std::size_t k = 0; k < old.size(); ++k)
        change[static_cast<std::size_t>(i) * old.size() + k] -= old[k];
    }
    AdapterTensor matrix{
        expected.name + std::string(graph::kLookupB), expected.cols, count, true, {}};
    matrix.values = transposed(change, count, expected.cols);
    if (is_tied()) {
      AdapterTensor a{"lm_head" + std::string(runtime::kLoraA), count, expected.cols, true, {}};
      a.values = std::move(change);
      AdapterTensor b = table;
      b.name = "lm_head" + std::string(runtime::kLoraB);
      QUERN_CHECK(append_new(std::move(a)));
      QUERN_CHECK(append_new(std::move(b)));
    }
    QUERN_CHECK(append_new(std::move(table)));
    return append_new(std::move(matrix));
  }

  /// One pair for a matrix is what a container holds.
  Status append_new(AdapterTensor tensor) {
    const bool taken =
        std::any_of(tensors_.begin(), tensors_.end(),
                    [&](const AdapterTensor& other) { return other.name == tensor.name; });
    if (taken)
      return Error(
                 ErrorCode::kUnsupported,
                 "an adapter with both new rows and a low-rank pair of a table is not implemented")
          .in_file(source_.path())
          .of(tensor.name);
    tensors_.push_back(std::move(tensor));
    return {};
  }

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
    QUERN_CHECK(append_new(std::move(a)));
    return append_new(std::move(b));
  }

  /// m ∘ (W + B·A) / ‖W + B·A‖ = d ∘ W + (d ∘ B)·A: B gets the factors d, and so does W·x.
  Status add_magnitudes(const std::string& name, const MatrixJob& rows, const MatrixUpdate& pair,
                        const AdapterTensor& a, AdapterTensor& b) {
    MatrixJob job = column_job(pair, *pair.magnitude, b.rows);
    job.source_rows = rows.source_rows;
    job.change = rows.change;
    AdapterTensor factors{name + std::string(graph::kProductScale), 1, b.rows, false, {}};
    QUERN_CHECK(read_rows(job, 1.0F, factors));
    const std::string matrix = name == "lm_head" && is_tied() ? "embed" : name;
    QUERN_TRY(norms, row_norms(base_, matrix, a.values, b.values, b.cols));
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
  std::set<std::string> used_, used_whole_, used_rows_;
  std::vector<AdapterTensor> tensors_;
};

}  // namespace

Result<std::vector<AdapterTensor>> make_adapter_tensors(const AdapterSource& source,
                                                        const Model& base) {
  QUERN_TRY(expected, models::expected_tensors(*source.architecture(), source.config()));
  AdapterMaker maker(source, base);
  for (const ExpectedTensor& tensor : expected) QUERN_CHECK(maker.add(tensor));
  return std::move(maker).finish();
}

}  // namespace quern::convert
