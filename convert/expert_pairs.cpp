#include "convert/expert_pairs.h"

#include <algorithm>
#include <utility>

#include "convert/source_floats.h"
#include "convert/tensor_match.h"
#include "formats/byte_reader.h"

namespace quern::convert {
namespace {

using models::ExpectedTensor;

/// Where transformers 5 keeps a matrix of all experts: in a parameter of the module over them.
struct FusedParameter {
  std::string_view canonical;  ///< How the matrix's name ends.
  std::string_view parameter;
  std::int64_t part, parts;  ///< Which of its equal parts are the matrix's rows.
};
constexpr FusedParameter kFused[] = {{".experts_gate", ".gate_up_proj", 0, 2},
                                     {".experts_up", ".gate_up_proj", 1, 2},
                                     {".experts_down", ".down_proj", 0, 1}};
constexpr std::string_view kExpert = ".{e}";

/// The same matrices under the name of such a parameter; nullopt where there is none.
std::optional<ExpectedTensor> fused_form(const ExpectedTensor& expected) {
  for (const FusedParameter& fused : kFused) {
    if (!expected.name.ends_with(fused.canonical)) continue;
    ExpectedTensor form = expected;
    form.hf_names.clear();
    for (const std::string& name : expected.hf_names) {
      const std::size_t at = name.find(kExpert);
      if (at != std::string::npos)
        form.hf_names.push_back(name.substr(0, at) + std::string(fused.parameter));
    }
    form.hf_rows = {};
    if (fused.parts > 1)
      form.hf_rows = {fused.part * expected.rows, expected.rows, 0, fused.parts * expected.rows};
    if (!form.hf_names.empty()) return form;
  }
  return std::nullopt;
}

/// One tensor B of the file with what belongs to it.
struct FoundPair {
  const SourceTensor* b = nullptr;
  const MatrixUpdate* update = nullptr;
  models::RowRuns rows;  ///< Which rows of the product are ours.
  bool stacked = false;
};

class ExpertPairReader {
 public:
  ExpertPairReader(const AdapterSource& source, const ExpectedTensor& expected)
      : source_(source), expected_(expected) {}

  Result<std::optional<ExpertPairs>> run() {
    const FoundPair first = find(0);
    if (first.b != nullptr && first.stacked) {
      QUERN_CHECK(read_stacked(first));
    } else {
      for (std::int64_t e = 0; e < expected_.count; ++e) {
        const FoundPair own = find(e);
        if (own.b != nullptr) QUERN_CHECK(read_own(own, e));
      }
    }
    if (parts_.empty()) return std::optional<ExpertPairs>();
    return std::optional<ExpertPairs>(padded());
  }

 private:
  struct Part {
    std::int64_t expert, rank;
    std::vector<float> a, b;  ///< `[rank, cols]`, `[rows, rank]`
  };

  FoundPair find(std::int64_t expert) const {
    FoundPair found;
    found.b = find_tensor(source_, expected_, expert, &found.stacked);
    found.rows = source_slice(source_, expected_);
    if (found.b == nullptr && source_.naming() == Naming::kHuggingFace) {
      if (const auto fused = fused_form(expected_)) {
        found.b = find_tensor(source_, *fused, expert, &found.stacked);
        found.rows = fused->hf_rows;
      }
    }
    if (found.b != nullptr) found.update = source_.update_of(found.b->name);
    return found;
  }

  Status check(const FoundPair& found) const {
    const MatrixUpdate* update = found.update;
    if (update != nullptr && update->change == MatrixChange::kPair && !update->magnitude) return {};
    const bool pair = update != nullptr && update->change == MatrixChange::kPair;
    return Error(ErrorCode::kUnsupported,
                 "of a mixture's experts, quern takes low-rank pairs without magnitudes")
        .in_file(source_.path())
        .of(formats::quote(update == nullptr ? found.b->name : update->module))
        .got(pair                ? "magnitudes (DoRA)"
             : update == nullptr ? "other weights"
                                 : "factors (IA3)");
  }

  Error other_model(const FoundPair& found, std::int64_t total) const {
    return Error(ErrorCode::kMismatch, "the adapter was made for another model")
        .in_file(source_.path())
        .of(formats::quote(found.update->module))
        .want("A for an input of " + std::to_string(expected_.cols) + " and B for an output of " +
              std::to_string(total) + ", " + std::to_string(expected_.count) + " experts")
        .got("A " + shape_text(found.update->a.shape) + " and B " + shape_text(found.b->shape));
  }

  Status check_rank(const FoundPair& found, std::int64_t rank) const {
    const std::int64_t most = std::min(expected_.rows, expected_.cols);
    if (rank >= 1 && rank <= most) return {};
    return Error(ErrorCode::kOutOfRange, "the rank of a pair is out of range")
        .in_file(source_.path())
        .of(formats::quote(found.update->module))
        .want("1 … " + std::to_string(most))
        .got(std::to_string(rank));
  }

  std::int64_t total_rows(const models::RowRuns& rows) const {
    return rows.whole() ? expected_.rows : rows.total;
  }

  /// The pair of one expert, in a module of its own.
  Status read_own(const FoundPair& found, std::int64_t expert) {
    QUERN_CHECK(check(found));
    const SourceTensor &a = found.update->a, &b = *found.b;
    const std::int64_t total = total_rows(found.rows), rank = dim(b, 1);
    if (!is_shape(a, {rank, expected_.cols}) || !is_shape(b, {total, rank}))
      return other_model(found, total);
    QUERN_CHECK(check_rank(found, rank));
    QUERN_TRY(a_values, source_floats(source_, a, found.update->module));
    QUERN_TRY(b_values, source_floats(source_, b, found.update->module));
    add_part(found, expert, rank, a_values.data(), b_values.data());
    return {};
  }

  /// \param a `[rank, cols]` \param b `[total rows, rank]`
  void add_part(const FoundPair& found, std::int64_t expert, std::int64_t rank, const float* a,
                const float* b) {
    const float factor = found.update->scale.of(static_cast<std::uint64_t>(rank));
    Part part{expert, rank, std::vector<float>(a, a + rank * expected_.cols), {}};
    for (std::int64_t row = 0; row < expected_.rows; ++row)
      for (std::int64_t r = 0; r < rank; ++r)
        part.b.push_back(factor * b[found.rows.source(row) * rank + r]);
    parts_.push_back(std::move(part));
    used_.insert(found.b->name);
  }

  Status read_stacked(const FoundPair& found) {
    QUERN_CHECK(check(found));
    if (found.b->shape.size() == 3) return read_stack(found);
    return read_parameter(found);
  }

  /// GGUF: A `[count, rank, cols]`, B `[count, rows, rank]`.
  Status read_stack(const FoundPair& found) {
    const SourceTensor &a = found.update->a, &b = *found.b;
    const std::int64_t n = expected_.count, total = total_rows(found.rows), rank = dim(b, 2);
    if (!is_shape(a, {n, rank, expected_.cols}) || !is_shape(b, {n, total, rank}))
      return other_model(found, total);
    QUERN_CHECK(check_rank(found, rank));
    QUERN_TRY(a_values, source_floats(source_, a, found.update->module));
    QUERN_TRY(b_values, source_floats(source_, b, found.update->module));
    for (std::int64_t e = 0; e < n; ++e)
      add_part(found, e, rank, a_values.data() + e * rank * expected_.cols,
               b_values.data() + e * total * rank);
    return {};
  }

  /// PEFT's pair for a parameter of all experts. Before 0.19 PEFT took a parameter's last dimension
  /// for its output, however it is stored: then A is the transpose of our B, and B of our A.
  Status read_parameter(const FoundPair& found) {
    const SourceTensor &a = found.update->a, &b = *found.b;
    const std::int64_t n = expected_.count, total = total_rows(found.rows), both = dim(b, 1);
    const std::int64_t cols = expected_.cols, rank = both / n;
    const bool stored_in_out = expected_.rule->hf_transform == models::Transform::kTranspose;
    const bool direct = is_shape(a, {both, cols}) && is_shape(b, {total, both});
    const bool turned = !stored_in_out && is_shape(a, {both, total}) && is_shape(b, {cols, both});
    if ((!direct && !turned) || both % n != 0) return other_model(found, total);
    QUERN_CHECK(check_rank(found, rank));
    QUERN_TRY(a_values, source_floats(source_, a, found.update->module));
    QUERN_TRY(b_values, source_floats(source_, b, found.update->module));
    const bool turn = turned && (!direct || source_.turns_parameters());
    // Of one expert, with A and B where they belong.
    std::vector<float> own_a(static_cast<std::size_t>(rank * cols));
    std::vector<float> own_b(static_cast<std::size_t>(total * rank));
    for (std::int64_t e = 0; e < n; ++e) {
      for (std::int64_t r = 0; r < rank; ++r) {
        const float* row = a_values.data() + (e * rank + r) * (turn ? total : cols);
        const float* column = b_values.data() + r * n + e;
        for (std::int64_t k = 0; k < cols; ++k)
          own_a[static_cast<std::size_t>(r * cols + k)] = turn ? column[k * both] : row[k];
        for (std::int64_t i = 0; i < total; ++i)
          own_b[static_cast<std::size_t>(i * rank + r)] = turn ? row[i] : column[i * both];
      }
      add_part(found, e, rank, own_a.data(), own_b.data());
    }
    return {};
  }

  ExpertPairs padded() {
    ExpertPairs out;
    const std::int64_t rows = expected_.rows, cols = expected_.cols;
    for (const Part& part : parts_) out.rank = std::max(out.rank, part.rank);
    out.a.resize(static_cast<std::size_t>(expected_.count * out.rank * cols));
    out.b.resize(static_cast<std::size_t>(expected_.count * rows * out.rank));
    for (const Part& part : parts_) {
      std::copy(part.a.begin(), part.a.end(), out.a.begin() + part.expert * out.rank * cols);
      for (std::int64_t row = 0; row < rows; ++row)
        std::copy_n(part.b.begin() + row * part.rank, part.rank,
                    out.b.begin() + (part.expert * rows + row) * out.rank);
    }
    out.used = std::move(used_);
    return out;
  }

  const AdapterSource& source_;
  const ExpectedTensor& expected_;
  std::vector<Part> parts_;
  std::set<std::string> used_;
};

}  // namespace

Result<std::optional<ExpertPairs>> read_expert_pairs(const AdapterSource& source,
                                                     const ExpectedTensor& expected) {
  return ExpertPairReader(source, expected).run();
}

}  // namespace quern::convert
