/// \file
/// The factors of several adapters for the same matrices, made one.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/quern_file.h"
#include "quern/result.h"
#include "runtime/weights.h"

namespace quern::runtime {

/// The suffix of a factor's name (graph/adapter_scales.h); empty where it has none.
std::string_view scale_suffix(std::string_view name) noexcept;

/// Collects factors by name. Thread rule: one owner.
class AdapterScales {
 public:
  /// Takes a vector of factors f of which there is `weight`. Those of products are
  /// Σ weight·(f − 1) + 1, of outputs and inputs Π (1 + weight·(f − 1)).
  /// \param name of the factors, as the graph asks for them.
  void add(const std::string& name, const formats::TensorEntry& entry, float weight);

  /// Hands the results to the graph; they live as long as this object stays where it is. Errors:
  /// kUnsupported naming a matrix that has pairs in `extra` and factors of its input or output.
  Status publish(ExtraTensors& extra);

 private:
  std::map<std::string, std::vector<float>, std::less<>> factors_;
};

}  // namespace quern::runtime
