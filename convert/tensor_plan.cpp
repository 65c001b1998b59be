#include "convert/tensor_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "formats/byte_reader.h"
#include "quern/checked.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;
using models::Role;
using models::Transform;

/// Prefixes under which published files keep the base model.
constexpr std::string_view kPrefixes[] = {"",
                                          "model.",
                                          "transformer.",
                                          "language_model.model.",
                                          "model.language_model.",
                                          "language_model."};
/// Tensors that hold no weights: what they say stands in the configuration.
constexpr std::string_view kIgnored[] = {"rotary_emb.inv_freq", "rope_freqs.weight", ".attn.bias",
                                         ".attn.masked_bias", "position_ids"};
constexpr std::size_t kNamedUnused = 8;

std::string show_shape(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const auto n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

const SourceTensor* find_source(const SourceModel& source, const ExpectedTensor& expected) {
  switch (source.naming()) {
    case Naming::kCanonical:
      return source.find(expected.name);
    case Naming::kGguf:
      return source.find(expected.gguf_name);
    case Naming::kHuggingFace:
      break;
  }
  for (const std::string& name : expected.hf_names) {
    for (const auto prefix : kPrefixes) {
      if (const auto* found = source.find(std::string(prefix) + name)) return found;
    }
  }
  return nullptr;
}

Error missing_tensor(const SourceModel& source, const ExpectedTensor& expected) {
  std::string wanted = expected.gguf_name;
  if (source.naming() == Naming::kCanonical) wanted = expected.name;
  if (source.naming() == Naming::kHuggingFace) {
    wanted.clear();
    for (const auto& name : expected.hf_names) wanted += (wanted.empty() ? "" : " or ") + name;
  }
  return Error(ErrorCode::kMissing, "the model lacks a tensor")
      .in_file(source.path())
      .of(expected.name)
      .want(wanted + " of shape " +
            show_shape(std::vector<std::uint64_t>{static_cast<std::uint64_t>(expected.rows),
                                                  static_cast<std::uint64_t>(expected.cols)}));
}

Transform source_transform(const SourceModel& source, const models::TensorRule& rule) {
  switch (source.naming()) {
    case Naming::kCanonical:
      return Transform::kNone;
    case Naming::kGguf:
      return rule.gguf_transform;
    case Naming::kHuggingFace:
      break;
  }
  return rule.hf_transform;
}

/// Leading dimensions of 1 carry nothing.
std::span<const std::uint64_t> without_ones(std::span<const std::uint64_t> shape,
                                            std::size_t keep) {
  while (shape.size() > keep && shape.front() == 1) shape = shape.subspan(1);
  return shape;
}

Status check_shape(const SourceModel& source, const SourceTensor& tensor,
                   const ExpectedTensor& expected, bool transpose) {
  std::vector<std::uint64_t> want{static_cast<std::uint64_t>(expected.rows),
                                  static_cast<std::uint64_t>(expected.cols)};
  if (expected.rule->role == Role::kVector) want.erase(want.begin());
  if (transpose) std::reverse(want.begin(), want.end());
  const auto have = without_ones(tensor.shape, want.size());
  if (std::equal(have.begin(), have.end(), want.begin(), want.end())) return {};
  return Error(ErrorCode::kMismatch, "a tensor's shape disagrees with the configuration")
      .in_file(source.path())
      .of(formats::quote(tensor.name))
      .want(show_shape(want))
      .got(show_shape(tensor.shape));
}

/// Whether the type can be read at all, and lies there in the size that the shape needs.
Status check_type(const SourceModel& source, const SourceTensor& tensor, const TensorJob& job,
                  bool only_floats) {
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
  const auto rows = static_cast<std::uint64_t>(job.rows),
             cols = static_cast<std::uint64_t>(job.cols);
  auto bytes = tensor_bytes(*info, tensor.layout, rows, cols);
  if (tensor.layout == Layout::kPlain) bytes = checked_mul(rows, ops->foreign_row_bytes(job.cols));
  if (bytes == tensor.data.size()) return {};
  return Error(ErrorCode::kMismatch, "a tensor has another size than its shape and type say")
      .in_file(source.path())
      .of(formats::quote(tensor.name))
      .want(bytes ? std::to_string(*bytes) + " bytes" : "a size that can be counted")
      .got(std::to_string(tensor.data.size()));
}

/// A published file may hold a tied output matrix as a copy of the embedding.
bool is_tied_copy(const SourceModel& source, const ExpectedTensor& expected,
                  const SourceTensor& tensor, std::span<const TensorJob> jobs) {
  if (source.naming() != Naming::kHuggingFace || expected.name != "lm_head") return false;
  const auto embed = std::find_if(jobs.begin(), jobs.end(),
                                  [](const TensorJob& job) { return job.name == "embed"; });
  if (embed == jobs.end() || embed->source->encoding != tensor.encoding) return false;
  const auto& data = embed->source->data;
  return data.size() == tensor.data.size() &&
         std::memcmp(data.data(), tensor.data.data(), data.size()) == 0;
}

/// Collects jobs, warnings and sums. Used once.
class Planner {
 public:
  Planner(const SourceModel& source, OutputFormat output, EncodingPolicy policy)
      : source_(source), output_(output), policy_(policy) {}

  Status add(const ExpectedTensor& expected) {
    const SourceTensor* tensor = find_source(source_, expected);
    if (tensor == nullptr) {
      if (expected.optional) return {};
      return missing_tensor(source_, expected);
    }
    used_.insert(tensor);
    if (is_tied_copy(source_, expected, *tensor, plan_.jobs)) {
      plan_.shown.warnings.push_back(tensor->name +
                                     " is a copy of the embedding and is not stored twice");
      return {};
    }
    QUERN_TRY(job, make_job(expected, *tensor));
    return append(expected, std::move(job));
  }

  ModelPlan finish() && {
    warn_unused();
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
  Result<TensorJob> make_job(const ExpectedTensor& expected, const SourceTensor& tensor) {
    const bool vector = expected.rule->role == Role::kVector;
    TensorJob job;
    job.name = output_ == OutputFormat::kGguf ? expected.gguf_name : expected.name;
    job.source = &tensor;
    job.rows = vector ? expected.cols : expected.rows;
    job.cols = vector ? 1 : expected.cols;
    job.dims = {static_cast<std::uint64_t>(job.rows)};
    if (!vector) job.dims.push_back(static_cast<std::uint64_t>(job.cols));
    const Transform out =
        output_ == OutputFormat::kGguf ? expected.rule->gguf_transform : Transform::kNone;
    auto change =
        make_change(source_transform(source_, *expected.rule), out, job.rows, source_.config());
    if (!change.ok()) return std::move(change).error().in_file(source_.path());
    job.change = std::move(change).value();
    QUERN_CHECK(check_shape(source_, tensor, expected, job.change.transpose));
    QUERN_CHECK(check_type(source_, tensor, job, vector || job.change.transpose));
    job.from = *tensor.encoding;
    job.layout = vector || output_ == OutputFormat::kGguf ? Layout::kPlain : Layout::kPanel16;
    if (vector) return job;
    // Small tables stay as they are: they cost next to nothing and every row of them matters.
    const bool table = expected.rule->role == Role::kTable;
    auto choice = choose_encoding(table ? EncodingPolicy{} : policy_, job.from, job.cols, output_);
    if (!choice.ok()) return std::move(choice).error();
    job.to = choice->encoding;
    if (!choice->note.empty()) plan_.shown.warnings.push_back(job.name + ": " + choice->note);
    return job;
  }

  Status append(const ExpectedTensor& expected, TensorJob job) {
    const auto* info = find_encoding(job.to);
    const bool fits = tensor_bytes(*info, Layout::kPanel16, static_cast<std::uint64_t>(job.rows),
                                   static_cast<std::uint64_t>(job.cols))
                          .has_value();
    if (!fits) {
      return Error(ErrorCode::kOutOfRange, "a tensor is too large").of(expected.name);
    }
    PlannedTensor shown;
    shown.name = job.name;
    shown.source = job.source->name;
    shown.shape = job.dims;
    shown.source_encoding = job.source->type_name;
    shown.encoding = job.to;
    shown.source_bytes = job.source->data.size();
    shown.bytes = job.bytes();
    shown.transform = describe_change(job.change);
    plan_.source_bytes += shown.source_bytes;
    if (expected.rule->role != Role::kVector) {
      bytes_ += shown.bytes;
      elements_ += static_cast<double>(job.rows) * static_cast<double>(job.cols);
    }
    if (expected.rule->role == Role::kMatrix) {
      weight_of_[job.to] += static_cast<std::uint64_t>(job.rows * job.cols);
    }
    plan_.shown.tensors.push_back(std::move(shown));
    plan_.jobs.push_back(std::move(job));
    return {};
  }

  void warn_unused() {
    std::size_t unused = 0;
    std::string names;
    for (const SourceTensor& tensor : source_.tensors()) {
      if (used_.count(&tensor) != 0) continue;
      const auto ignored = [&](std::string_view part) {
        return tensor.name.find(part) != std::string::npos;
      };
      if (std::any_of(std::begin(kIgnored), std::end(kIgnored), ignored)) continue;
      if (unused++ < kNamedUnused)
        names += (names.empty() ? "" : ", ") + formats::quote(tensor.name);
    }
    if (unused == 0) return;
    if (unused > kNamedUnused) names += ", …";
    plan_.shown.warnings.push_back(std::to_string(unused) +
                                   " tensors of the source are not used: " + names);
  }

  const SourceModel& source_;
  OutputFormat output_;
  EncodingPolicy policy_;
  ModelPlan plan_;
  std::set<const SourceTensor*> used_;
  std::map<Encoding, std::uint64_t> weight_of_;  ///< Elements by encoding, embeddings aside.
  std::uint64_t bytes_ = 0;
  double elements_ = 0;
};

}  // namespace

Result<ModelPlan> make_plan(const SourceModel& source, OutputFormat output,
                            const ConvertOptions& options) {
  QUERN_TRY(policy, parse_encoding(options.encoding, output));
  Planner planner(source, output, policy);
  if (source.architecture() != nullptr) {
    QUERN_TRY(expected, models::expected_tensors(*source.architecture(), source.config()));
    for (const ExpectedTensor& tensor : expected) QUERN_CHECK(planner.add(tensor));
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

}  // namespace quern::convert
