/// \file
/// Adapters: small files that change what a model's matrices and vectors do.
///
/// A low-rank pair adds (x·Aᵀ)·Bᵀ to the product of a matrix (Hu et al. 2021, "LoRA",
/// arXiv:2106.09685), one for every expert to those of a mixture's experts; the pair of a single
/// matrix may come with a factor for every row of it (Liu et al. 2024, "DoRA", arXiv:2402.09353).
/// Factors alone scale what a matrix takes or gives (Liu et al. 2022, "IA3", arXiv:2205.05638); a
/// vector takes the place of one of the model's (Ben Zaken et al. 2021, "BitFit",
/// arXiv:2106.10199), and a matrix that of one of its matrices (a head, an embedding). A pair of an
/// embedding adds to the rows that are looked up, and to them alone where the output matrix is the
/// same. The model's weights are shared and stay as they are, quantized or not.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "quern/model.h"

namespace quern {

/// One adapter file, opened: a container whose tensors are named for those that they change.
/// Foreign files: convert/convert.h. Immutable and shared: copies are cheap handles. Thread rule:
/// any thread.
class Adapter {
 public:
  /// Maps an adapter that is a `.quern` file. Errors: those of a container; kMismatch for one that
  /// is no adapter.
  static Result<Adapter> open(const std::string& path);
  /// From memory; `owner` keeps `bytes` (64-byte aligned) alive. Errors: those of a container;
  /// kMismatch for one that is no adapter.
  static Result<Adapter> from_memory(std::shared_ptr<const void> owner,
                                     std::span<const std::byte> bytes, const std::string& name);

  const std::string& path() const noexcept;
  std::size_t pairs() const noexcept;     ///< Matrices that it adds to.
  std::size_t vectors() const noexcept;   ///< Vectors that it replaces.
  std::size_t matrices() const noexcept;  ///< Matrices that it replaces.
  std::size_t scales() const noexcept;    ///< Matrices of which it scales product, output or input.

  struct State;
  const State& state() const noexcept { return *state_; }

 private:
  explicit Adapter(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// An adapter and how much of it: low-rank products are multiplied by `weight`, a factor f becomes
/// 1 + weight·(f − 1). Vectors and matrices that it brings whole are replaced whatever it is.
struct AdapterUse {
  Adapter adapter;
  float weight = 1.0F;
};

/// `model` with adapters in the order given: a handle of its own over the same weights, so that one
/// process serves many adapters. What low-rank pairs with and without factors change of a product
/// is added up; factors of inputs and outputs are multiplied. Of two that replace the same tensor
/// the later one counts, and pairs add to what stands there then. Errors: kUnsupported naming a
/// matrix that low-rank pairs and factors of its input or output would change together (the
/// adapters' authors define no order); kMismatch naming the tensor and both shapes where an adapter
/// was made for another model; kOutOfRange for a weight that is not finite; kUnsupported for a
/// model without weights.
Result<Model> with_adapters(const Model& model, std::span<const AdapterUse> adapters);

}  // namespace quern
