/// \file
/// What one architecture is: its configuration keys, its tensors, its graph. One file each, one row
/// in the registry. Converter, loader and inspector share these tables.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/builder.h"
#include "graph/graph.h"
#include "quern/config.h"

namespace quern::models {

enum class SourceKind : std::uint8_t { kHuggingFace, kGguf };

/// What is done to a source tensor to make the canonical one. Each has an inverse for export.
enum class Transform : std::uint8_t {
  kNone,
  kRopeRows,   ///< Rows of each head are stored as neighbour pairs (GGUF's Llama); ours are halves.
  kAddOne,     ///< Stored minus one (Gemma's norms in Hugging Face form).
  kTranspose,  ///< Stored `[in, out]`.
  kNegExp,     ///< Stored as the logarithm of what is negated (a scan's decay rates).
};

enum class Role : std::uint8_t {
  kMatrix,     ///< `[rows, cols]` of a linear layer: panels, may be quantized.
  kEmbedding,  ///< The same, looked up by row (and perhaps tied to the output).
  kVector,     ///< Norm weights and biases: plain float32.
  kExact,  ///< `[rows, cols]` that is never quantized: small tables looked up by row (positions,
           ///< types), routers, whose choices are not continuous.
};

/// Which rows of a fused source tensor are ours: `run` rows from `first` on, then `run` rows every
/// `stride` rows. Expressions like shapes; all empty: the whole tensor.
struct RowSlice {
  std::string_view first;
  std::string_view run;
  std::string_view stride;
  std::string_view total;  ///< Rows of the fused tensor.
  bool empty() const noexcept { return total.empty(); }
};

/// A RowSlice with its numbers filled in. Value type.
struct RowRuns {
  std::int64_t first = 0, run = 0, stride = 0;
  std::int64_t total = 0;  ///< 0: the whole tensor.
  bool whole() const noexcept { return total == 0; }
  /// \return the source row that is our row `row`.
  std::int64_t source(std::int64_t row) const noexcept {
    return whole() ? row : first + row / run * stride + row % run;
  }
};

/// One kind of tensor. `{}` in a name stands for the layer's number; a rule with it yields as many
/// tensors as `layers` says. `{e}` in a Hugging Face name stands for the number of an expert (or
/// head) where each lies in a tensor of its own. Shapes are sums of products of canonical
/// configuration keys: "n_heads*head_dim+2"; `{}` in one of these is the layer's number, too.
struct TensorRule {
  std::string_view name;        ///< Canonical, e.g. "layers.{}.wq".
  std::vector<std::string> hf;  ///< Accepted Hugging Face names, without the base prefix
                                ///< ("model." is tried with and without).
  std::string_view gguf;        ///< GGUF's name, e.g. "blk.{}.attn_q.weight".
  std::string_view rows;        ///< Output dimension; of a vector 1, or rows as GGUF cuts it.
  std::string_view cols;        ///< Input dimension; the length of a vector.
  Role role = Role::kMatrix;
  bool optional = false;  ///< Absence is no error (biases, an untied output).
  Transform hf_transform = Transform::kNone;
  Transform gguf_transform = Transform::kNone;
  RowSlice hf_slice = {};
  /// Rows of `gguf`. Rules that share a GGUF name have all its rows among them.
  RowSlice gguf_slice = {};
  /// A boolean key: where it is true or absent, `gguf_transform` does not count.
  std::string_view gguf_transform_unless = {};
  /// GGUF keeps so many equal blocks of our rows as matrices of their own, one after the other.
  /// With kTranspose each of them is transposed.
  std::string_view gguf_parts = {};
  /// Where the configuration says `older_gguf`, name and rows in the place of `gguf`, `gguf_slice`,
  /// `gguf_parts` and `gguf_transform`.
  std::string_view older_gguf = {};
  RowSlice older_gguf_slice = {};
  /// A boolean key, or a list of them with one per layer, that says whether the model has this
  /// tensor; "!key" asks for the contrary, "key?" for a tensor that the model may have, and never
  /// without. Where the configuration lacks the key `optional` decides.
  std::string_view when = {};
  /// Number of equal matrices, one after the other (experts); empty: one.
  std::string_view count = {};
  /// GGUF's number of rows where it is larger than ours: those behind are row 0 again.
  std::string_view gguf_filled_rows = {};
  /// A key: GGUF leaves out so many of our first rows.
  std::string_view gguf_skipped_rows = {};
  /// GGUF asks for the tensor where `when` leaves it out, and nothing reads it: it is written as
  /// zeros.
  bool gguf_wants_all = false;
  /// The key that holds the number of layers. Rules of one stack of layers follow one another.
  std::string_view layers = "n_layers";
};

/// One configuration key by its three names. An empty name: the source never has it.
struct ConfigKey {
  std::string_view canonical;
  std::string_view hf;
  std::string_view gguf;  ///< Without the "<arch>." prefix.
  bool required = true;
  ConfigValue fallback = {};  ///< What absence means; null: nothing is set.
};

using graph::WeightLookup;

/// Describes one architecture. All functions are pure.
struct Architecture {
  std::string_view name;                     ///< Canonical, e.g. "llama".
  std::vector<std::string_view> hf_classes;  ///< E.g. "LlamaForCausalLM".
  std::vector<std::string_view> gguf_names;  ///< `general.architecture`; the first is written.
  /// Source configuration (flat config.json, or GGUF metadata) → canonical. Refuses by name what is
  /// not implemented. The converter adds to GGUF metadata what only tensors tell: `vocab_size`
  /// (rows of token_embd.weight), `rope_freqs.weight` (its values, a list; likewise other tensors
  /// that begin with "rope_"), and true under the name of every tensor of the first layer or none.
  Result<Config> (*read_config)(const Config& source, SourceKind kind);
  /// Canonical → GGUF metadata (with the "<arch>." prefix). A list under `rope_freqs.weight` is to
  /// be written as that float32 tensor; `general.architecture` takes the place of the first name.
  Result<Config> (*write_gguf_config)(const Config& config);
  const std::vector<TensorRule>& (*tensors)();
  /// Canonical configuration and weights → graph, shapes checked.
  Result<graph::Graph> (*build)(const Config& config, const WeightLookup& weights);
  /// A key that a GGUF file must hold to be of this architecture, other than 0 or, as "key=2", with
  /// that number; empty: the name tells.
  std::string_view gguf_mark = {};
  /// Of an encoder–decoder, whose decoder is `build`'s: the graph that reads the source.
  Result<graph::Graph> (*build_source)(const Config& config, const WeightLookup& weights) = nullptr;
};

std::span<const Architecture* const> all_architectures() noexcept;
/// By canonical name, Hugging Face class, or GGUF name and metadata; nullptr where unknown.
const Architecture* find_architecture(std::string_view canonical) noexcept;
const Architecture* find_by_hf_class(std::string_view class_name) noexcept;
const Architecture* find_by_gguf_name(std::string_view name, const Config& metadata) noexcept;

/// A concrete tensor of a model: a rule with its layer filled in and its shape evaluated.
struct ExpectedTensor {
  const TensorRule* rule;
  std::int32_t layer;  ///< −1: not per layer.
  std::string name;
  std::vector<std::string> hf_names;  ///< In the order to try.
  std::string gguf_name;
  std::int64_t rows, cols;
  std::int64_t count;  ///< Matrices of that shape.
  bool optional;
  RowRuns hf_rows, gguf_rows;
  std::int64_t gguf_filled_rows = 0;  ///< 0: as many as ours.
  Transform gguf_transform = Transform::kNone;
  std::int64_t gguf_parts = 0;  ///< 0: the matrix is kept whole.
  std::int64_t gguf_skipped_rows = 0;
};

/// Every tensor that `config` asks for (a false `when` leaves one out), in the order of use.
/// kMissing, kOutOfRange for bad dimensions (≤ 0 or absurd: more than 2^31 per dimension, more than
/// 4,096 layers).
Result<std::vector<ExpectedTensor>> expected_tensors(const Architecture& architecture,
                                                     const Config& config);

/// The tensors that `config` leaves out and GGUF asks for all the same
/// (TensorRule::gguf_wants_all). Errors: expected_tensors's.
Result<std::vector<ExpectedTensor>> gguf_zero_tensors(const Architecture& architecture,
                                                      const Config& config);

/// "a*b+c*2" over integer configuration keys; checked arithmetic.
Result<std::int64_t> evaluate_dimension(std::string_view expression, const Config& config);

}  // namespace quern::models
