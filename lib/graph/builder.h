/// \file
/// Builds a graph one operation at a time, checking every shape.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace quern::graph {

/// Looks up a weight by canonical name; an empty view for an absent optional one.
using WeightLookup = std::function<Result<quant::TensorView>(std::string_view name, bool optional)>;

/// The canonical name of a matrix of low-rank pair number `place` that is added to the products of
/// `matrix`: B `[rows, rank]` where `is_b`, else A `[rank, cols]`.
std::string adapter_weight(std::string_view matrix, std::size_t place, bool is_b);
/// The same for the pairs of a table that is looked up (adapter_scales.h).
std::string lookup_weight(std::string_view table, std::size_t place, bool is_b);

/// The first error (a missing weight, a shape that does not fit) stops the building: later calls do
/// nothing, `finish` returns it. So a model's code reads as its equations. Thread rule: one thread.
class GraphBuilder {
 public:
  GraphBuilder(WeightLookup lookup, std::int64_t vocab_size);

  /// The weight `name` as a matrix `[rows, cols]`; kNone for an absent optional one.
  WeightId matrix(std::string_view name, std::int64_t rows, std::int64_t cols,
                  bool optional = false);
  /// The weight `name` as `count` matrices `[rows, cols]`.
  WeightId matrices(std::string_view name, std::int64_t count, std::int64_t rows,
                    std::int64_t cols);
  /// Matrix number `part` of the weight `name`, which is `count` matrices `[rows, cols]`; in the
  /// graph it is called "name.part".
  WeightId matrix_part(std::string_view name, std::int64_t part, std::int64_t count,
                       std::int64_t rows, std::int64_t cols);
  /// The weight `name` as a float32 vector of `n`.
  WeightId vector(std::string_view name, std::int64_t n, bool optional = false);
  /// Whether there is a weight `name`.
  bool has(std::string_view name);
  StateId kv_state(const KvState& state);

  // One function per op of graph.h; `name` labels the result.
  /// With the low-rank pairs that the lookup has for the rows of the table. \param first as
  /// EmbeddingOp's.
  ValueId embedding(WeightId table, float scale = 1.0F, std::int64_t first = -1);
  ValueId position_embedding(WeightId table, std::int64_t offset);
  ValueId sinusoid(std::int64_t dim);
  ValueId type_embedding(WeightId table, std::string_view name);
  ValueId constant_rows(WeightId table, std::string_view name);
  /// With the low-rank pairs and factors (adapter_scales.h) that the lookup has for the weight.
  ValueId linear(ValueId x, WeightId weight, std::string_view name, WeightId bias = kNone,
                 ValueId residual = kNone);
  ValueId rms_norm(ValueId x, WeightId weight, float eps, std::string_view name);
  ValueId rms_norm_heads(ValueId x, WeightId weight, float eps, std::int64_t head_dim,
                         std::string_view name);
  ValueId layer_norm(ValueId x, WeightId weight, WeightId bias, float eps, std::string_view name);
  ValueId layer_norm_heads(ValueId x, WeightId weight, WeightId bias, float eps,
                           std::int64_t head_dim, std::string_view name);
  ValueId rope_angles(RopeAnglesOp op, std::string_view name);
  ValueId rope(ValueId x, ValueId angles, std::int64_t head_dim, bool interleaved,
               std::string_view name);
  ValueId position_column(ValueId x, std::int64_t head_dim, std::vector<float> slopes,
                          std::string_view name);
  ValueId join_heads(const JoinHeadsOp& op, std::string_view name);
  ValueId attention(const AttentionOp& op, std::string_view name);
  void store_source(const StoreSourceOp& op, std::string_view name);
  ValueId cross_attention(const CrossAttentionOp& op, std::string_view name);
  ValueId encoder_attention(const EncoderAttentionOp& op, std::string_view name);
  ValueId pool(ValueId x, Pooling pooling, std::string_view name);
  ValueId glu(ValueId gate, ValueId up, Activation activation, std::string_view name);
  ValueId route(const RouteOp& op, std::string_view name);
  /// With the low-rank pairs that the lookup has for the three weights.
  ValueId experts(ExpertsOp op, std::string_view name);
  ValueId scale_rows(ValueId x, ValueId factor, std::string_view name);
  ValueId activation(ValueId x, Activation activation, std::string_view name);
  ValueId add(ValueId a, ValueId b, std::string_view name);
  ValueId scale(ValueId x, float factor, std::string_view name);
  ValueId mul(ValueId a, ValueId b, std::string_view name);
  ValueId scale_columns(ValueId x, WeightId weight, std::string_view name);
  ValueId columns(ValueId x, std::int64_t first, std::int64_t count, std::string_view name);
  ValueId mix(MixOp op, std::string_view name);
  ValueId match_magnitude(ValueId x, ValueId like, float floor, std::string_view name);
  ValueId cutoff(ValueId x, float deviations, std::string_view name);
  /// With a state of its own.
  ValueId causal_conv(CausalConvOp op, std::string_view name);
  ValueId scan(ScanOp op, std::string_view name);
  ValueId clamp(ValueId x, float limit, std::string_view name);
  ValueId softcap(ValueId x, float cap, std::string_view name);
  ValueId select_rows(ValueId x, std::string_view name);
  ValueId input(std::int64_t number, std::int64_t cols, std::string_view name);

  void output(std::string_view name, ValueId value);
  /// Layer number given to the nodes that follow; −1 outside the layers.
  void set_layer(std::int32_t layer) noexcept { layer_ = layer; }
  /// Columns of a value (0 after an error).
  std::int64_t cols(ValueId value) const noexcept;

  Result<Graph> finish();

 private:
  void fail(Error error);
  StateId rolling_state(std::int64_t floats);
  WeightId weight(std::string_view name, std::int64_t count, std::int64_t rows, std::int64_t cols,
                  bool optional, bool vector);
  /// An empty view where there is none.
  quant::TensorView find(std::string_view name);
  WeightId add_weight(std::string_view name, const quant::TensorView& view);
  /// Checks the op against its row of the shape rules and appends it.
  ValueId append(Op op, std::string_view name);

  WeightLookup lookup_;
  Graph graph_;
  Status status_;
  std::int32_t layer_ = -1;
};

}  // namespace quern::graph
