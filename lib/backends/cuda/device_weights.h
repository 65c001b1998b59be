/// \file
/// Weights on a device: each is there once, however many programs read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backends/cuda/buffers.h"
#include "backends/cuda/device.h"
#include "graph/graph.h"

namespace quern::backends::cuda {

/// A weight on a device; shared by those that read it.
using DeviceWeight = std::shared_ptr<const DeviceBuffer>;

/// Bytes of a weight as it lies in the file, which is how it lies on the device too.
std::uint64_t weight_bytes(const quant::TensorView& view) noexcept;

/// Bytes of those weights of a graph that are used, by address.
std::map<const std::byte*, std::uint64_t> used_weights(const graph::Graph& graph,
                                                       const std::vector<bool>& used);

/// Those weights of a graph that are used, by WeightId (nullptr: not used). A weight that stands on
/// the device already is found by its address, which stays its own as long as a program holds it:
/// programs keep their graph, and the graph's owner keeps the file mapped. kOutOfMemory naming the
/// weight. Thread rule: any thread.
Result<std::vector<DeviceWeight>> upload_weights(Device& device, const graph::Graph& graph,
                                                 const std::vector<bool>& used);

}  // namespace quern::backends::cuda
