#include "convert/tensor_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "convert/tensor_match.h"
#include "convert/unused_tensors.h"
#include "formats/byte_reader.h"
#include "quant/registry.h"
#include "quern/checked.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;
using models::Role;
using models::Transform;

bool same_bits(const SourceTensor& a, const SourceTensor& b) {
  return a.encoding == b.encoding && a.shape == b.shape && a.data.size() == b.data.size() &&
         std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0;
}

/// A published file may hold a tied output matrix as a copy of the embedding.
bool is_tied_copy(const SourceModel& source, const ExpectedTensor& expected,
                  const SourceTensor& tensor, std::span<const TensorJob> jobs) {
  if (source.naming() != Naming::kHuggingFace || expected.name != "lm_head") return false;
  const auto embed = std::find_if(jobs.begin(), jobs.end(),
                                  [](const TensorJob& job) { return job.name == "embed"; });
  if (embed == jobs.end() || embed->matrices.front().from != tensor.encoding) return false;
  const auto& data = embed->matrices.front().data;
  return data.size() == tensor.data.size() &&
         std::memcmp(data.data(), tensor.data.data(), data.size()) == 0;
}

/// Collects jobs, warnings and sums. Used once.
class Planner {
 public:
  Planner(const SourceModel& source, OutputFormat output, const EncodingPolicy& policy)
      : source_(source), output_(output), policy_(policy) {}

  Status add(const ExpectedTensor& expected) {
    QUERN_TRY(sources, find_matrices(source_, expected));
    if (sources.empty()) return {};
    for (const SourceMatrix& source : sources) used_.insert(source.tensor);
    if (sources.size() == 1) ignore_copies(expected, *sources.front().tensor);
    const SourceTensor& tensor = *sources.front().tensor;
    if (is_tied_copy(source_, expected, tensor, plan_.jobs)) {
      plan_.shown.warnings.push_back(tensor.name +
                                     " is a copy of the embedding and is not stored twice");
      return {};
    }
    QUERN_TRY(job, make_job(expected, sources));
    return append(expected, std::move(job));
  }

  /// What GGUF files hold and no model reads is no surprise, nor that a checkpoint holds it.
  Status ignore_zero_tensors() {
    QUERN_TRY(unread, models::gguf_zero_tensors(*source_.architecture(), source_.config()));
    for (const ExpectedTensor& expected : unread) {
      if (const SourceTensor* tensor = find_tensor(source_, expected)) used_.insert(tensor);
    }
    return {};
  }

  ModelPlan finish() && {
    list_unused();
    for (TensorJob& job : plan_.jobs) {
      std::stable_sort(job.matrices.begin(), job.matrices.end(),
                       [](const auto& a, const auto& b) { return a.at_row < b.at_row; });
    }
    std::uint64_t most = 0;
    for (const auto& [encoding, bytes] : weight_of_) {
      if (bytes <= most) continue;
      most = bytes;
      plan_.main_encoding = encoding;
    }
    if (elements_ > 0) {
      plan_.shown.bits_per_weight = 8.0 * static_cast<double>(bytes_) / elements_;
    }
    return std::move(plan_);
  }

 private:
  Result<TensorJob> make_job(const ExpectedTensor& expected,
                             std::span<const SourceMatrix> sources) {
    const bool vector = expected.rule->role == Role::kVector;
    MatrixJob matrix = bare_job(expected, sources.front());
    matrix.rows = vector ? expected.cols : expected.rows;
    matrix.cols = vector ? 1 : expected.cols;
    QUERN_TRY(change, change_of(expected, matrix.rows, *sources.front().tensor));
    matrix.change = std::move(change);
    if (output_ == OutputFormat::kGguf && expected.gguf_filled_rows > 0) {
      if (expected.gguf_filled_rows > matrix.rows) matrix.change.own_rows = matrix.rows;
      matrix.rows = expected.gguf_filled_rows;
    }
    if (output_ == OutputFormat::kGguf && expected.gguf_skipped_rows > 0) {
      matrix.change.first_row = expected.gguf_skipped_rows;
      matrix.rows -= expected.gguf_skipped_rows;
    }
    if (turns_blocks(source_, expected) || turns_out(expected))
      return turned_job(expected, std::move(matrix));
    if (!vector) QUERN_CHECK(choose(expected, matrix.from, matrix));
    TensorJob job{matrix.name, {}, matrix.to, matrix.layout, {}};
    job.is_vector = vector;
    job.quantizable = !vector && expected.rule->role != Role::kExact;
    QUERN_TRY(dims, dims_of(expected, matrix, sources.size()));
    job.dims = std::move(dims);
    for (const SourceMatrix& source : sources) {
      matrix.source = source.tensor;
      matrix.data = source.data;
      matrix.scales = source.scales;
      matrix.source_rows = source.rows;
      if (*source.tensor->encoding != matrix.from) return differing_parts(source);
      job.matrices.push_back(matrix);
      ++matrix.expert;
    }
    if (output_ == OutputFormat::kGguf) spread(expected.gguf_rows, job);
    return job;
  }

  /// A job of the whole source, of which rows, columns and encoding are left out.
  MatrixJob bare_job(const ExpectedTensor& expected, const SourceMatrix& source) const {
    const bool plain = expected.rule->role == Role::kVector || output_ == OutputFormat::kGguf;
    MatrixJob matrix;
    matrix.weight = expected.name;
    matrix.name = output_ == OutputFormat::kGguf ? expected.gguf_name : expected.name;
    matrix.source = source.tensor;
    matrix.data = source.data;
    matrix.scales = source.scales;
    matrix.source_rows = source.rows;
    matrix.from = *source.tensor->encoding;
    matrix.layout = plain ? Layout::kPlain : Layout::kPanel16;
    return matrix;
  }

  /// Chooses what becomes of a matrix that is stored as `from`.
  Status choose(const ExpectedTensor& expected, Encoding from, MatrixJob& matrix) {
    const bool exact = expected.rule->role == Role::kExact;
    // ggml multiplies by bfloat16 with inputs rounded to it, too coarse for what is exact here.
    const bool widens = exact && output_ == OutputFormat::kGguf && from == Encoding::kBF16;
    const EncodingPolicy kept =
        widens ? EncodingPolicy{.keep = false, .target = Encoding::kF32} : EncodingPolicy{};
    QUERN_TRY(choice,
              choose_encoding(exact ? kept : policy_of(expected), from, matrix.cols, output_));
    matrix.to = choice.encoding;
    if (!choice.note.empty()) plan_.shown.warnings.push_back(matrix.name + ": " + choice.note);
    return {};
  }

  Result<std::vector<std::uint64_t>> dims_of(const ExpectedTensor& expected,
                                             const MatrixJob& matrix, std::size_t count) const {
    const auto rows = static_cast<std::uint64_t>(matrix.rows);
    const auto cols = static_cast<std::uint64_t>(matrix.cols);
    const bool gguf = output_ == OutputFormat::kGguf;
    if (expected.rule->role == Role::kVector) {
      const std::uint64_t all = rows * count;
      if (!gguf) return std::vector{all};
      if (count > 1) return std::vector{static_cast<std::uint64_t>(count), rows};
      QUERN_TRY(cut, models::evaluate_dimension(expected.rule->rows, source_.config()));
      const auto n = static_cast<std::uint64_t>(cut);
      return n > 1 ? std::vector{n, all / n} : std::vector{all};
    }
    if (gguf && expected.gguf_parts > 0) {
      const auto parts = static_cast<std::uint64_t>(expected.gguf_parts);
      return std::vector{parts, rows / parts, cols};
    }
    return count > 1 ? std::vector{static_cast<std::uint64_t>(count), rows, cols}
                     : std::vector{rows, cols};
  }

  /// Splits the matrix of a job where its rows do not lie together in GGUF's.
  static void spread(const models::RowRuns& rows, TensorJob& job) {
    if (rows.whole()) return;
    const MatrixJob whole = std::move(job.matrices.front());
    job.matrices.clear();
    for (std::int64_t done = 0; done < whole.rows; done += rows.run) {
      MatrixJob part = whole;
      part.rows = std::min(rows.run, whole.rows - done);
      part.change.first_row = done;
      part.at_row = rows.source(done);
      job.matrices.push_back(std::move(part));
    }
  }

  bool turns_out(const ExpectedTensor& expected) const noexcept {
    return output_ == OutputFormat::kGguf && expected.gguf_parts > 0 &&
           expected.gguf_transform == Transform::kTranspose;
  }

  /// Blocks of rows that source or output keep transposed. Blocks of numbers do not survive that:
  /// what would keep them is float32, which has the same values.
  /// \param ours of all rows, as they are here.
  Result<TensorJob> turned_job(const ExpectedTensor& expected, MatrixJob ours) {
    const std::int64_t rows = expected.rows / expected.gguf_parts;
    MatrixJob matrix = ours;
    TensorJob job{ours.name, {}, ours.to, ours.layout, {}};
    job.quantizable = expected.rule->role != Role::kExact;
    const bool in = turns_blocks(source_, expected), out = turns_out(expected);
    if (out) {
      matrix.weight.clear();  // Its columns are no inputs of a product.
      matrix.rows = expected.cols;
      matrix.cols = rows;
    }
    if (in != out && is_quantized(matrix.from)) matrix.from = Encoding::kF32;
    QUERN_CHECK(choose(expected, matrix.from, matrix));
    job.to = matrix.to;
    job.dims = {static_cast<std::uint64_t>(matrix.rows), static_cast<std::uint64_t>(matrix.cols)};
    if (out) job.dims.insert(job.dims.begin(), static_cast<std::uint64_t>(expected.gguf_parts));
    ours.to = Encoding::kF32;
    ours.layout = Layout::kPlain;
    ours.rows = in ? expected.cols : rows;
    ours.cols = in ? rows : expected.cols;
    const std::size_t size = ours.data.size() / static_cast<std::size_t>(expected.gguf_parts);
    for (std::int64_t part = 0; part < expected.gguf_parts; ++part) {
      const std::span<const std::byte> data =
          in ? ours.data.subspan(static_cast<std::size_t>(part) * size, size) : ours.data;
      if (in && out) {
        matrix.data = data;
        matrix.source_rows = matrix.rows;
        job.matrices.push_back(matrix);
        continue;
      }
      MatrixJob turned = ours;
      turned.data = data;
      if (in) turned.weight.clear();
      if (in) turned.source_rows = turned.rows;
      if (out) turned.change.first_row = part * rows;
      if (out) matrix.turned.clear();
      matrix.turned.push_back(std::move(turned));
      if (!out) continue;
      job.matrices.push_back(matrix);
      matrix.data = matrix.scales = {};
    }
    if (!out) job.matrices.push_back(std::move(matrix));
    return job;
  }

  /// The choice that was made for this tensor alone, else the one for all. Parts of one GGUF tensor
  /// follow its first part.
  EncodingPolicy policy_of(const ExpectedTensor& expected) const {
    const auto chosen = policy_.chosen.find(expected.name);
    if (chosen == policy_.chosen.end()) return {policy_.keep, policy_.target, {}};
    Encoding target = chosen->second;
    for (const TensorJob& job : plan_.jobs) {
      if (output_ == OutputFormat::kGguf && job.name == expected.gguf_name) target = job.to;
    }
    return {.keep = false, .target = target, .chosen = {}};
  }

  Result<TensorChange> change_of(const ExpectedTensor& expected, std::int64_t rows,
                                 const SourceTensor& tensor) const {
    const bool gguf = output_ == OutputFormat::kGguf && !turns_out(expected);
    auto change =
        make_change(source_transform(source_, expected, tensor),
                    gguf ? expected.gguf_transform : Transform::kNone, rows, source_.config());
    if (!change.ok()) return std::move(change).error().in_file(source_.path());
    change->slice = source_slice(source_, expected);
    return change;
  }

  Error differing_parts(const SourceMatrix& source) const {
    return Error(ErrorCode::kUnsupported, "the parts of one tensor are of different types")
        .in_file(source_.path())
        .of(formats::quote(source.tensor->name))
        .got(formats::quote(source.tensor->type_name));
  }

  Status append(const ExpectedTensor& expected, TensorJob job) {
    const auto* info = find_encoding(job.to);
    const MatrixJob& matrix = job.matrices.front();
    const auto bytes =
        tensor_bytes(*info, Layout::kPanel16, static_cast<std::uint64_t>(matrix.rows),
                     static_cast<std::uint64_t>(matrix.cols));
    if (!bytes || !checked_mul(*bytes, job.matrices.size())) {
      return Error(ErrorCode::kOutOfRange, "a tensor is too large").of(expected.name);
    }
    const auto elements =
        static_cast<std::uint64_t>(matrix.rows * matrix.cols) * job.matrices.size();
    if (expected.rule->role != Role::kVector) {
      bytes_ += job.bytes();
      elements_ += static_cast<double>(elements);
    }
    if (expected.rule->role == Role::kMatrix) weight_of_[job.to] += elements;
    for (const MatrixJob& part : job.matrices) plan_.source_bytes += part.source_bytes();
    if (TensorJob* whole = fused_with(expected, job)) return join(*whole, std::move(job));
    PlannedTensor shown;
    shown.name = job.name;
    shown.source = matrix.source->name;
    shown.shape = job.dims;
    shown.source_encoding = matrix.source->type_name;
    shown.encoding = job.to;
    for (const MatrixJob& part : job.matrices) shown.source_bytes += part.source_bytes();
    shown.bytes = job.bytes();
    shown.transform =
        matrix.turned.empty() ? describe_change(matrix.change) : "transpose every block";
    plan_.shown.tensors.push_back(std::move(shown));
    plan_.jobs.push_back(std::move(job));
    return {};
  }

  /// GGUF keeps some of our tensors as the rows of one: the job of the earlier ones, or nullptr.
  TensorJob* fused_with(const ExpectedTensor& expected, const TensorJob& job) {
    if (output_ != OutputFormat::kGguf || expected.gguf_rows.first == 0) return nullptr;
    const auto whole = std::find_if(plan_.jobs.begin(), plan_.jobs.end(),
                                    [&](const TensorJob& other) { return other.name == job.name; });
    return whole == plan_.jobs.end() ? nullptr : &*whole;
  }

  Status join(TensorJob& whole, TensorJob job) {
    if (whole.to != job.to || job.dims.size() > 2) {
      return Error(ErrorCode::kUnsupported, "GGUF keeps these tensors as one; their types differ")
          .in_file(source_.path())
          .of(job.name);
    }
    PlannedTensor& shown =
        plan_.shown.tensors[static_cast<std::size_t>(&whole - plan_.jobs.data())];
    whole.dims[0] += job.dims[0];
    shown.shape = whole.dims;
    shown.bytes += job.bytes();
    for (const MatrixJob& part : job.matrices) shown.source_bytes += part.source_bytes();
    if (shown.source != job.matrices.front().source->name)
      shown.source += ", " + job.matrices.front().source->name;
    for (MatrixJob& part : job.matrices) whole.matrices.push_back(std::move(part));
    return {};
  }

  /// A checkpoint may hold a tensor under several of its names.
  void ignore_copies(const ExpectedTensor& expected, const SourceTensor& taken) {
    for (const SourceTensor* other : other_spellings(source_, expected, taken)) {
      if (same_bits(*other, taken)) copies_.insert(other);
    }
  }

  void list_unused() {
    if (source_.architecture() == nullptr) return;
    UnusedTensors unused = find_unused(source_, used_, copies_);
    auto& warnings = plan_.shown.warnings;
    warnings.insert(warnings.end(), unused.left_out.begin(), unused.left_out.end());
    plan_.strays = std::move(unused.strays);
  }

  const SourceModel& source_;
  OutputFormat output_;
  const EncodingPolicy& policy_;
  ModelPlan plan_;
  TensorSet used_, copies_;
  std::map<Encoding, std::uint64_t> weight_of_;  ///< Elements by encoding, embeddings aside.
  std::uint64_t bytes_ = 0;
  double elements_ = 0;
};

}  // namespace

Result<ModelPlan> make_plan(const SourceModel& source, OutputFormat output,
                            const EncodingPolicy& policy) {
  Planner planner(source, output, policy);
  if (source.architecture() != nullptr) {
    QUERN_TRY(expected, models::expected_tensors(*source.architecture(), source.config()));
    for (const ExpectedTensor& tensor : expected) QUERN_CHECK(planner.add(tensor));
    QUERN_CHECK(planner.ignore_zero_tensors());
  } else if (output == OutputFormat::kGguf) {
    return Error(ErrorCode::kMissing, "the source is a vocabulary without a model")
        .in_file(source.path())
        .want("a checkpoint with weights");
  }
  ModelPlan plan = std::move(planner).finish();
  if (source.architecture() != nullptr)
    plan.shown.architecture = source.architecture()->name;
  else
    plan.shown.warnings.emplace_back(
        "the source is a vocabulary without a model: the result can tokenize and nothing more");
  plan.shown.source_kind = source.kind();
  plan.shown.warnings.insert(plan.shown.warnings.begin(), source.notes().begin(),
                             source.notes().end());
  return plan;
}

bool requantizes(const ModelPlan& plan) {
  return std::any_of(plan.jobs.begin(), plan.jobs.end(),
                     [](const TensorJob& job) { return job.quantizable && !job.keeps_bits(); });
}

namespace {

/// Gives the output a matrix of its own, which begins as the embedding that it was.
void part_output(ModelPlan& plan) {
  const auto is_job = [](const char* weight) {
    return [weight](const TensorJob& job) { return job.matrices.front().weight == weight; };
  };
  const auto embed = std::find_if(plan.jobs.begin(), plan.jobs.end(), is_job("embed"));
  const bool has_own = std::any_of(plan.jobs.begin(), plan.jobs.end(), is_job("lm_head"));
  if (embed == plan.jobs.end() || has_own) return;
  TensorJob output = *embed;
  PlannedTensor shown = plan.shown.tensors[static_cast<std::size_t>(embed - plan.jobs.begin())];
  output.name = output.name == "embed" ? "lm_head" : "output.weight";  // GGUF's.
  output.matrices.front().name = output.name;
  output.matrices.front().weight = "lm_head";
  shown.name = output.name;
  plan.jobs.push_back(std::move(output));
  plan.shown.tensors.push_back(std::move(shown));
}

}  // namespace

Status bake_into(ModelPlan& plan, const BakedTensors& baked, const std::string& file) {
  std::set<std::string> used;
  if (baked.count("lm_head") != 0) part_output(plan);
  const auto bake = [&](MatrixJob& matrix, PlannedTensor& shown) -> Status {
    const auto found = baked.find(matrix.weight);
    if (found == baked.end()) return {};
    used.insert(found->first);
    if (!found->second.changes()) return {};
    if (quant::find_ops(matrix.to)->quantize_panel == nullptr) {
      return Error(ErrorCode::kUnsupported, "weights that an adapter changes cannot keep this type")
          .in_file(file)
          .of(matrix.name)
          .want("an encoding that quern writes (--encoding q8)")
          .got(std::string(find_encoding(matrix.to)->name));
    }
    matrix.baked = &found->second;
    if (shown.transform.find("adapter") == std::string::npos)
      shown.transform += shown.transform.empty() ? "adapter" : ", adapter";
    return {};
  };
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    for (MatrixJob& matrix : plan.jobs[i].matrices) {
      QUERN_CHECK(bake(matrix, plan.shown.tensors[i]));
      for (MatrixJob& turned : matrix.turned) QUERN_CHECK(bake(turned, plan.shown.tensors[i]));
    }
  }
  for (const auto& entry : baked) {
    if (used.count(entry.first) != 0) continue;
    return Error(ErrorCode::kMismatch, "an adapter changes a tensor that is not written")
        .in_file(file)
        .of(entry.first);
  }
  return {};
}

}  // namespace quern::convert
