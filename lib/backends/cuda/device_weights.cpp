#include "backends/cuda/device_weights.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "backends/cuda/stream.h"

namespace quern::backends::cuda {
namespace {

using Key = std::pair<const Device*, const std::byte*>;

/// What stands on the devices of this process.
struct Registry {
  std::mutex mutex;
  std::map<Key, std::weak_ptr<const DeviceBuffer>> weights;
};
Registry& registry() {
  static Registry instance;
  return instance;
}

Result<DeviceWeight> upload(Device& device, Stream& stream, const graph::Weight& weight) {
  const std::uint64_t bytes = weight_bytes(weight.view);
  auto buffer = device.allocate(bytes);
  if (!buffer.ok()) {
    Error error = std::move(buffer).error();
    error.field = weight.name;
    return error;
  }
  QUERN_CHECK(stream.upload(buffer->address(), weight.view.data, bytes));
  return std::make_shared<const DeviceBuffer>(std::move(*buffer));
}

}  // namespace

std::uint64_t weight_bytes(const quant::TensorView& view) noexcept {
  const EncodingInfo* info = find_encoding(view.encoding);
  if (info == nullptr) return 0;
  const auto one = tensor_bytes(*info, view.layout, static_cast<std::uint64_t>(view.rows),
                                static_cast<std::uint64_t>(view.cols));
  return static_cast<std::uint64_t>(view.batch) * one.value_or(0);
}

std::map<const std::byte*, std::uint64_t> used_weights(const graph::Graph& graph,
                                                       const std::vector<bool>& used) {
  std::map<const std::byte*, std::uint64_t> bytes;
  for (std::size_t i = 0; i < graph.weights.size(); ++i) {
    const quant::TensorView& view = graph.weights[i].view;
    if (used[i]) bytes[view.data] = std::max(bytes[view.data], weight_bytes(view));
  }
  return bytes;
}

Result<std::vector<DeviceWeight>> upload_weights(Device& device, const graph::Graph& graph,
                                                 const std::vector<bool>& used) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.weights, [](const auto& entry) { return entry.second.expired(); });
  QUERN_TRY(stream, device.make_stream());
  std::vector<DeviceWeight> weights(graph.weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!used[i]) continue;
    std::weak_ptr<const DeviceBuffer>& known = all.weights[{&device, graph.weights[i].view.data}];
    weights[i] = known.lock();
    if (weights[i] != nullptr && weights[i]->size() >= weight_bytes(graph.weights[i].view))
      continue;
    QUERN_TRY(uploaded, upload(device, stream, graph.weights[i]));
    weights[i] = std::move(uploaded);
    known = weights[i];
  }
  QUERN_CHECK(stream.synchronize());
  return weights;
}

}  // namespace quern::backends::cuda
