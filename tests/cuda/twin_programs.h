/// \file
/// One graph compiled for the processor and for the device, and steps that both must take alike.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "graph/builder.h"
#include "quant/registry.h"

namespace quern::test {

/// A graph whose inputs are columns of an embedding of random numbers. Owns its weights.
class ColumnGraph {
 public:
  static constexpr std::int64_t kVocab = 61;

  /// \param cols of the embedding: as many as `take` will hand out.
  ColumnGraph(std::int64_t cols, float deviation = 1.0F, std::uint32_t seed = 7);

  graph::GraphBuilder& builder() { return *builder_; }
  /// The next columns of the embedding.
  graph::ValueId take(std::int64_t cols);
  graph::WeightId matrix(const std::string& name, std::int64_t rows, std::int64_t cols,
                         Encoding encoding = Encoding::kF32, std::int64_t batch = 1);
  graph::WeightId vector(const std::string& name, std::int64_t n, float scale = 1.0F,
                         float shift = 0.0F);
  /// The graph with `out` as its output "out".
  std::shared_ptr<const graph::Graph> finish(graph::ValueId out);
  /// Overwrites a column of a token's row; float32 graphs only.
  void set(std::int64_t token, std::int64_t column, float value);

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::byte* allocate(std::uint64_t bytes);
  /// A panel of an encoding that nothing quantizes to: any codes, and scales that are numbers below
  /// 1 in every format, because no byte of them is above 0x3b.
  void fill(const EncodingInfo& info, std::int64_t cols, std::byte* panel);

  std::int64_t cols_, taken_ = 0;
  float deviation_;
  std::mt19937 random_;
  std::deque<std::vector<Line>> storage_;
  std::map<std::string, quant::TensorView> weights_;
  std::byte* table_ = nullptr;
  std::unique_ptr<graph::GraphBuilder> builder_;
  graph::ValueId embedding_ = graph::kNone;
};

/// A sequence on both.
struct TwinSequence {
  std::unique_ptr<backends::SequenceState> host, device;
  std::int64_t position = 0;
};

/// Both programs and the rows of a step under construction.
class TwinPrograms {
 public:
  TwinPrograms(std::shared_ptr<const graph::Graph> graph, backends::CompileOptions options);

  /// \param positions 0: as many as the programs are compiled for.
  TwinSequence sequence(std::int64_t source = 0, std::int64_t positions = 0) const;
  /// Appends `n` rows of a sequence of their own cache, or where it is nullptr of a sequence
  /// that lies in the step as a whole.
  void add(TwinSequence* sequence, std::int64_t n);
  /// Like add(), of one given token.
  void add_token(TwinSequence* sequence, std::int32_t token);
  /// Runs the step on both. \return the first place where "out" differs, −1: none; −2: a step
  /// failed. NaN is equal to NaN.
  std::ptrdiff_t run();
  /// Of the last step, the device's.
  const std::vector<float>& output() const { return output_; }

 private:
  std::unique_ptr<backends::Program> host_, device_;
  backends::CompileOptions options_;
  std::int64_t next_ = 0;
  std::vector<float> output_;
  std::vector<std::int32_t> tokens_, starts_;
  std::vector<std::int64_t> positions_;
  std::vector<backends::SequenceState*> hosts_, devices_;
};

}  // namespace quern::test
