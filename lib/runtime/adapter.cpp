#include "quern/adapter.h"

#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "base/guard.h"
#include "graph/adapter_scales.h"
#include "quant/tensor_view.h"
#include "runtime/adapter_scales.h"
#include "runtime/adapter_state.h"
#include "runtime/model_builder.h"
#include "runtime/model_state.h"
#include "runtime/weights.h"

namespace quern {
namespace {

using formats::TensorEntry;

Error misfit(const std::string& file, std::string_view name, std::string sentence) {
  return Error(ErrorCode::kMismatch, std::move(sentence)).in_file(file).of(std::string(name));
}

std::string shape_of(const TensorEntry& entry) {
  std::string text = "[";
  for (int i = 0; i < entry.n_dims; ++i)
    text += (i > 0 ? ", " : "") + std::to_string(entry.dims[static_cast<std::size_t>(i)]);
  return text + "]";
}

bool is_float_vector(const TensorEntry& entry) {
  return entry.encoding == Encoding::kF32 && entry.layout == Layout::kPlain && entry.n_dims == 1;
}

/// Whether the tensor is a float32 matrix in panels, or one for every expert.
bool is_float_matrix(const TensorEntry& entry) {
  return entry.encoding == Encoding::kF32 && entry.layout == Layout::kPanel16 &&
         (entry.n_dims == 2 || entry.n_dims == 3);
}

/// Number of matrices, and rows of each. \pre 2 or 3 dimensions
std::uint64_t matrices_of(const TensorEntry& entry) {
  return entry.n_dims == 3 ? entry.dims[0] : 1;
}
std::uint64_t rows_of(const TensorEntry& entry) {
  return entry.dims[static_cast<std::size_t>(entry.n_dims - 2)];
}
bool is_matrix(const TensorEntry& entry) { return entry.n_dims == 2 || entry.n_dims == 3; }

Status check_parts(Adapter::State& state) {
  const std::string& path = state.file.path();
  for (const TensorEntry& entry : state.file.tensors()) {
    if (entry.name.ends_with(runtime::kLoraA)) {
      const std::string matrix(entry.name.substr(0, entry.name.size() - runtime::kLoraA.size()));
      const TensorEntry* b = state.file.find(matrix + std::string(runtime::kLoraB));
      const bool pair = b != nullptr && is_float_matrix(entry) && is_float_matrix(*b) &&
                        matrices_of(*b) == matrices_of(entry) && b->cols() == rows_of(entry);
      if (!pair) return misfit(path, entry.name, "the two matrices of a pair do not fit together");
      ++state.pairs;
    } else if (!entry.name.ends_with(runtime::kLoraB)) {
      if (!is_float_vector(entry))
        return misfit(path, entry.name, "an adapter's vectors are float32");
      const std::string_view suffix = runtime::scale_suffix(entry.name);
      const std::string_view matrix = entry.name.substr(0, entry.name.size() - suffix.size());
      if (suffix == graph::kProductScale &&
          state.file.find(std::string(matrix) + std::string(runtime::kLoraA)) == nullptr)
        return misfit(path, entry.name, "factors of a product come with a low-rank pair");
      ++(suffix.empty() ? state.vectors : state.scales);
    }
  }
  if (state.pairs + state.vectors + state.scales > 0) return {};
  return Error(ErrorCode::kMismatch, "the file holds nothing that an adapter is made of")
      .in_file(path);
}

/// Whether half of a low-rank pair is for matrices like `changed`.
bool fits_half(const TensorEntry& half, bool is_b, const TensorEntry& changed) {
  return is_matrix(changed) && matrices_of(half) == matrices_of(changed) &&
         (is_b ? rows_of(half) == rows_of(changed) : half.cols() == changed.cols());
}

/// Checks that every tensor of an adapter changes one of `base`'s, of the same shape.
Status check_against(const Adapter::State& adapter, const formats::QuernFile& base) {
  for (const TensorEntry& entry : adapter.file.tensors()) {
    std::string name(entry.name);
    const bool is_a = entry.name.ends_with(runtime::kLoraA);
    const bool is_b = entry.name.ends_with(runtime::kLoraB);
    const std::string_view scale = runtime::scale_suffix(entry.name);
    name.resize(name.size() - (is_a || is_b ? runtime::kLoraA.size() : scale.size()));
    const TensorEntry* changed = base.find(name);
    if (changed == nullptr)
      return misfit(adapter.file.path(), name, "the adapter changes a tensor that the model lacks");
    const bool fits = is_a || is_b ? fits_half(entry, is_b, *changed)
                      : scale == graph::kInputScale
                          ? changed->n_dims == 2 && changed->cols() == entry.cols()
                      : !scale.empty() ? changed->n_dims == 2 && changed->rows() == entry.cols()
                                       : changed->n_dims == 1 && changed->cols() == entry.cols();
    if (fits) continue;
    return misfit(adapter.file.path(), entry.name, "the adapter was made for another model")
        .want("a match for " + shape_of(*changed) + " in " + base.path())
        .got(shape_of(entry));
  }
  return {};
}

/// The matrices B times their weights, which the graph's views point into.
using ScaledMatrices = std::vector<std::vector<std::byte>>;

/// Keeps alive what the views of a model with adapters point into.
struct Kept {
  std::vector<Adapter> adapters;
  ScaledMatrices scaled;
  runtime::AdapterScales scales;
};

/// A copy of a float32 matrix times `weight`, at a multiple of 64 bytes.
const std::byte* scale_matrix(const TensorEntry& entry, float weight, ScaledMatrices& scaled) {
  constexpr std::size_t kAlign = 64;
  auto& bytes = scaled.emplace_back(entry.data.size() + kAlign);
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  std::byte* data = bytes.data() + (kAlign - address % kAlign) % kAlign;
  for (std::size_t at = 0; at + sizeof(float) <= entry.data.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, entry.data.data() + at, sizeof(float));
    value *= weight;
    std::memcpy(data + at, &value, sizeof(float));
  }
  return data;
}

/// Adds the tensors of adapter number `index` to those that take precedence over the file's.
Status add_tensors(const AdapterUse& use, std::size_t index, Kept& kept,
                   runtime::ExtraTensors& extra) {
  for (const TensorEntry& entry : use.adapter.state().file.tensors()) {
    QUERN_TRY(view, runtime::view_of(entry, use.adapter.state().file));
    const bool is_b = entry.name.ends_with(runtime::kLoraB);
    if (!runtime::scale_suffix(entry.name).empty()) {
      kept.scales.add(entry, use.weight);
      continue;
    }
    if (!is_b && !entry.name.ends_with(runtime::kLoraA)) {
      extra[std::string(entry.name)] = view;
      continue;
    }
    if (is_b && use.weight != 1.0F) view.data = scale_matrix(entry, use.weight, kept.scaled);
    const std::string matrix(entry.name.substr(0, entry.name.size() - runtime::kLoraA.size()));
    // A pair's number is its place among those of its matrix.
    for (std::size_t place = 0; place <= index; ++place) {
      const auto [at, is_new] = extra.try_emplace(graph::adapter_weight(matrix, place, is_b), view);
      if (is_new) break;
    }
  }
  return {};
}

}  // namespace

Result<Adapter> Adapter::open(const std::string& path) {
  return base::guarded([&]() -> Result<Adapter> {
    QUERN_TRY(file, formats::QuernFile::open(path));
    auto state = std::make_shared<State>(std::move(file));
    QUERN_CHECK(check_parts(*state));
    return Adapter(std::move(state));
  });
}

Result<Adapter> Adapter::from_memory(std::shared_ptr<const void> owner,
                                     std::span<const std::byte> bytes, const std::string& name) {
  return base::guarded([&]() -> Result<Adapter> {
    QUERN_TRY(file, formats::QuernFile::from_bytes(bytes, name));
    auto state = std::make_shared<State>(std::move(file));
    state->owner = std::move(owner);
    QUERN_CHECK(check_parts(*state));
    return Adapter(std::move(state));
  });
}

const std::string& Adapter::path() const noexcept { return state_->file.path(); }
std::size_t Adapter::pairs() const noexcept { return state_->pairs; }
std::size_t Adapter::vectors() const noexcept { return state_->vectors; }
std::size_t Adapter::scales() const noexcept { return state_->scales; }

Result<Model> with_adapters(const Model& base, std::span<const AdapterUse> adapters) {
  return base::guarded([&]() -> Result<Model> {
    if (!base.can_run()) {
      return Error(ErrorCode::kUnsupported, "a vocabulary alone takes no adapter")
          .in_file(base.path());
    }
    auto kept = std::make_shared<Kept>();
    runtime::ExtraTensors extra;
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const AdapterUse& use = adapters[i];
      if (!std::isfinite(use.weight)) {
        return Error(ErrorCode::kOutOfRange, "an adapter's weight must be a number")
            .in_file(use.adapter.path())
            .of("weight");
      }
      QUERN_CHECK(check_against(use.adapter.state(), base.state().file));
      kept->adapters.push_back(use.adapter);
      QUERN_CHECK(add_tensors(use, i, *kept, extra));
    }
    Status scaled = kept->scales.publish(extra);
    if (!scaled.ok()) return std::move(scaled).error().in_file(base.path());
    QUERN_TRY(state, runtime::rebuild_state(base.state_, std::move(kept), extra));
    return Model(std::move(state));
  });
}

}  // namespace quern
