#include "quern/adapter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "base/guard.h"
#include "graph/adapter_scales.h"
#include "graph/builder.h"
#include "quant/tensor_view.h"
#include "runtime/adapter_scales.h"
#include "runtime/adapter_state.h"
#include "runtime/model_builder.h"
#include "runtime/model_state.h"
#include "runtime/weights.h"

namespace quern {
namespace {

using formats::TensorEntry;

// A model without the second has the first for both.
constexpr std::string_view kEmbedding = "embed", kOutput = "lm_head";

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

/// What a tensor of an adapter is, by the end of its name.
enum class Part : std::uint8_t { kPairA, kPairB, kLookupA, kLookupB, kScale, kWhole };

Part part_of(std::string_view name) {
  if (name.ends_with(runtime::kLoraA)) return Part::kPairA;
  if (name.ends_with(runtime::kLoraB)) return Part::kPairB;
  if (name.ends_with(graph::kLookupA)) return Part::kLookupA;
  if (name.ends_with(graph::kLookupB)) return Part::kLookupB;
  return runtime::scale_suffix(name).empty() ? Part::kWhole : Part::kScale;
}

/// The name of the tensor that is changed.
std::string changed_name(std::string_view name) {
  switch (part_of(name)) {
    case Part::kPairA:
    case Part::kPairB:
      name.remove_suffix(runtime::kLoraA.size());
      break;
    case Part::kLookupA:
    case Part::kLookupB:
      name.remove_suffix(graph::kLookupA.size());
      break;
    case Part::kScale:
      name.remove_suffix(runtime::scale_suffix(name).size());
      break;
    case Part::kWhole:
      break;
  }
  return std::string(name);
}

/// The B of a pair fits its A: `[rows, rank]` behind `[rank, cols]`, or behind a table
/// `[rows, rank]`.
bool is_pair(const TensorEntry& a, const TensorEntry* b, bool lookup) {
  if (b == nullptr || !is_float_matrix(a) || !is_float_matrix(*b)) return false;
  if (lookup) return a.n_dims == 2 && b->n_dims == 2 && a.cols() == b->cols();
  return matrices_of(*b) == matrices_of(a) && b->cols() == rows_of(a);
}

Status check_part(const TensorEntry& entry, Adapter::State& state) {
  const std::string& path = state.file.path();
  const std::string changed = changed_name(entry.name);
  const Part part = part_of(entry.name);
  const bool lookup = part == Part::kLookupA || part == Part::kLookupB;
  const auto other = [&](std::string_view suffix) {
    return state.file.find(changed + std::string(suffix));
  };
  if (part == Part::kPairA || part == Part::kLookupA) {
    if (!is_pair(entry, other(lookup ? graph::kLookupB : runtime::kLoraB), lookup))
      return misfit(path, entry.name, "the two matrices of a pair do not fit together");
    ++state.pairs;
  } else if (part == Part::kPairB || part == Part::kLookupB) {
    if (other(lookup ? graph::kLookupA : runtime::kLoraA) == nullptr)
      return misfit(path, entry.name, "the two matrices of a pair do not fit together");
  } else if (part == Part::kWhole && is_float_matrix(entry)) {
    ++state.matrices;
  } else {
    if (!is_float_vector(entry))
      return misfit(path, entry.name, "an adapter's vectors are float32");
    if (entry.name.ends_with(graph::kProductScale) && other(runtime::kLoraA) == nullptr)
      return misfit(path, entry.name, "factors of a product come with a low-rank pair");
    ++(part == Part::kWhole ? state.vectors : state.scales);
  }
  return {};
}

Status check_parts(Adapter::State& state) {
  for (const TensorEntry& entry : state.file.tensors()) QUERN_CHECK(check_part(entry, state));
  if (state.pairs + state.vectors + state.scales + state.matrices > 0) return {};
  return Error(ErrorCode::kMismatch, "the file holds nothing that an adapter is made of")
      .in_file(state.file.path());
}

/// Whether half of a low-rank pair is for matrices like `changed`.
bool fits_half(const TensorEntry& half, bool is_b, const TensorEntry& changed) {
  return is_matrix(changed) && matrices_of(half) == matrices_of(changed) &&
         (is_b ? rows_of(half) == rows_of(changed) : half.cols() == changed.cols());
}

bool same_dims(const TensorEntry& a, const TensorEntry& b) {
  return a.n_dims == b.n_dims &&
         std::equal(a.dims.begin(), a.dims.begin() + a.n_dims, b.dims.begin());
}

/// Whether a tensor of an adapter can change one like `changed`.
bool fits(const TensorEntry& entry, const TensorEntry& changed) {
  switch (part_of(entry.name)) {
    case Part::kPairA:
      return fits_half(entry, false, changed);
    case Part::kPairB:
      return fits_half(entry, true, changed);
    case Part::kLookupA:
      return changed.n_dims == 2 && rows_of(entry) == changed.rows();
    case Part::kLookupB:
      return changed.n_dims == 2 && rows_of(entry) == changed.cols();
    case Part::kScale:
      return changed.n_dims == 2 &&
             entry.cols() ==
                 (entry.name.ends_with(graph::kInputScale) ? changed.cols() : changed.rows());
    case Part::kWhole:
      break;
  }
  return same_dims(entry, changed);
}

/// Where the output matrix of a model is its embedding, that is what a change of the output is
/// measured against.
const TensorEntry* find_changed(const formats::QuernFile& base, const std::string& name) {
  const TensorEntry* own = base.find(name);
  return own == nullptr && name == kOutput ? base.find(kEmbedding) : own;
}

/// Checks that every tensor of an adapter changes one of `base`'s, of the same shape.
Status check_against(const Adapter::State& adapter, const formats::QuernFile& base) {
  for (const TensorEntry& entry : adapter.file.tensors()) {
    const std::string name = changed_name(entry.name);
    const TensorEntry* changed = find_changed(base, name);
    if (changed == nullptr)
      return misfit(adapter.file.path(), name, "the adapter changes a tensor that the model lacks");
    if (fits(entry, *changed)) continue;
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

/// Adds the tensors that an adapter brings whole to those that take precedence over the file's.
Status add_whole(const AdapterUse& use, runtime::ExtraTensors& extra) {
  for (const TensorEntry& entry : use.adapter.state().file.tensors()) {
    if (part_of(entry.name) != Part::kWhole) continue;
    QUERN_TRY(view, runtime::view_of(entry, use.adapter.state().file));
    extra[std::string(entry.name)] = view;
  }
  return {};
}

/// A new embedding is none for an output matrix that was the old one.
Status keep_output(const formats::QuernFile& base, runtime::ExtraTensors& extra) {
  const TensorEntry* embedding = base.find(kEmbedding);
  const bool tied = base.find(kOutput) == nullptr && embedding != nullptr;
  if (!tied || extra.count(kEmbedding) == 0 || extra.count(kOutput) != 0) return {};
  QUERN_TRY(view, runtime::view_of(*embedding, base));
  extra[std::string(kOutput)] = view;
  return {};
}

/// Adds the pairs and factors of adapter number `index`, once whole tensors are in their places.
Status add_changes(const AdapterUse& use, std::size_t index, const formats::QuernFile& base,
                   Kept& kept, runtime::ExtraTensors& extra) {
  const bool shares = base.find(kOutput) == nullptr && extra.count(kOutput) == 0;
  for (const TensorEntry& entry : use.adapter.state().file.tensors()) {
    const Part part = part_of(entry.name);
    if (part == Part::kWhole) continue;
    std::string matrix = changed_name(entry.name);
    if (shares && matrix == kOutput) matrix = kEmbedding;
    if (part == Part::kScale) {
      kept.scales.add(matrix + std::string(runtime::scale_suffix(entry.name)), entry, use.weight);
      continue;
    }
    QUERN_TRY(view, runtime::view_of(entry, use.adapter.state().file));
    const bool is_b = part == Part::kPairB || part == Part::kLookupB;
    const bool lookup = part == Part::kLookupA || part == Part::kLookupB;
    if (is_b && use.weight != 1.0F) view.data = scale_matrix(entry, use.weight, kept.scaled);
    // A pair's number is its place among those of its matrix, of which each adapter may have two.
    for (std::size_t place = 0; place <= 2 * index + 1; ++place) {
      const std::string name = lookup ? graph::lookup_weight(matrix, place, is_b)
                                      : graph::adapter_weight(matrix, place, is_b);
      if (extra.try_emplace(name, view).second) break;
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
std::size_t Adapter::matrices() const noexcept { return state_->matrices; }
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
      QUERN_CHECK(add_whole(use, extra));
    }
    QUERN_CHECK(keep_output(base.state().file, extra));
    for (std::size_t i = 0; i < adapters.size(); ++i)
      QUERN_CHECK(add_changes(adapters[i], i, base.state().file, *kept, extra));
    Status scaled = kept->scales.publish(extra);
    if (!scaled.ok()) return std::move(scaled).error().in_file(base.path());
    QUERN_TRY(state, runtime::rebuild_state(base.state_, std::move(kept), extra));
    return Model(std::move(state));
  });
}

}  // namespace quern
