/// \file
/// A compiled graph on a device, with its memory.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "backends/cuda/device_weights.h"
#include "backends/cuda/lowering.h"
#include "backends/cuda/step_arrays.h"
#include "backends/step_recorder.h"

namespace quern::backends::cuda {

/// Issues the steps of a lowered graph to a stream of its own. Steps of few rows are recorded, and
/// replayed when one of the same shape comes: what differs between them lies in the step's arrays.
/// The recording begins with sending these and ends with fetching the results, so that such a step
/// is one call, and one wait.
/// A traced program waits for the device after every part, and replays nothing.
class CudaProgram final : public Program {
 public:
  static Result<std::unique_ptr<Program>> create(std::shared_ptr<Device> device,
                                                 std::shared_ptr<const graph::Graph> graph,
                                                 const CompileOptions& options, KvType kv,
                                                 Lowered lowered);

  Status run(const StepBinding& step) override;
  std::span<const float> output(std::string_view name) const override;
  std::span<const base::RankedLogit> best(std::int64_t row) const override;
  std::uint64_t scratch_bytes() const noexcept override;
  KvType kv() const noexcept override { return kv_; }
  StepTrace trace() const override { return recorder_ ? recorder_->trace() : StepTrace(); }
  Result<std::unique_ptr<SequenceState>> new_sequence(const SequenceSize& size) const override;

  /// Bytes of device memory that `create` will take, weights apart.
  static std::uint64_t memory_bytes(const Lowered& lowered, const CompileOptions& options) noexcept;

 private:
  /// Steps of the same shape are the same launches.
  using Shape = std::array<std::int64_t, 5>;

  CudaProgram() = default;
  Status place_tables();
  Status make_recorder(const CompileOptions& options);
  Status make_outputs(const CompileOptions& options);
  LaunchContext context_for(const StepBinding& step);
  Status issue(const LaunchContext& context);
  Status replay(const LaunchContext& context);
  /// Fetches what the step made. Afterwards, when it is there, `note_outputs` says what it is.
  Status fetch(const LaunchContext& context);
  void note_outputs(const LaunchContext& context);
  /// Floats of an output that are fetched; 0 where its best values will do.
  std::size_t floats_of(const LaunchContext& context, std::size_t output) const;

  std::shared_ptr<Device> device_;
  std::shared_ptr<const graph::Graph> graph_;
  KvType kv_ = KvType::kF32;
  Lowered lowered_;
  std::vector<DeviceWeight> weights_;
  DeviceBuffer arena_, table_memory_;
  StepArraysBuffer arrays_;
  std::vector<Kernel> kernels_;
  std::vector<std::uint64_t> buffers_, weight_addresses_, table_addresses_;
  std::vector<PinnedBuffer> outputs_;      ///< By Graph::outputs.
  std::vector<std::size_t> output_sizes_;  ///< Floats of the last step.
  PinnedBuffer best_keys_;
  std::vector<base::RankedLogit> best_;
  std::size_t best_of_row_ = 0;  ///< In the last step; 0: it brought all logits.
  std::unique_ptr<StepRecorder> recorder_;
  Stream stream_;
  std::map<Shape, LaunchGraph> recordings_;
  bool first_ = true;
};

}  // namespace quern::backends::cuda
