// Rows sorted by the experts that they chose, and their results put together again. A row's product
// does not depend on its companions, so the order of an expert's slots is of no account.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/linear_args.h"
#include "backends/cuda/kernels/mixture_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE int expert_of(const SortSlotsArgs& args, int slot) {
  const long long row = slot / args.used;
  return static_cast<int>(args.route[row * 2 * args.used + slot % args.used]);
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_sort_slots, SortSlotsArgs, kSortThreads) {
  QUERN_DYNAMIC_SHARED(memory);
  int* next = reinterpret_cast<int*>(memory);  // Of each expert: its slots, then the next free one.
  const SlotTable& table = args.table;
  const int slots = static_cast<int>(args.rows) * args.used;
  const int first = static_cast<int>(threadIdx.x), step = static_cast<int>(kSortThreads);
  for (int e = first; e < args.experts; e += step) next[e] = 0;
  __syncthreads();
  for (int i = first; i < slots; i += step) atomicAdd(next + expert_of(args, i), 1);
  __syncthreads();
  if (first == 0) {
    int begin = 0, tiles = 0;
    for (int e = 0; e < args.experts; ++e) {
      const int count = next[e];
      table.begin[e] = next[e] = begin;
      table.tile[e] = tiles;
      begin += count;
      tiles += (count + kTileRows - 1) / kTileRows;
    }
    table.begin[args.experts] = begin;
  }
  __syncthreads();
  for (int i = first; i < slots; i += step) {
    const int at = atomicAdd(next + expert_of(args, i), 1);
    table.row[at] = i / args.used;
    table.place[i] = at;
  }
}

QUERN_KERNEL_BOUNDS(quern_gather_slots, GatherSlotsArgs, 256) {
  const long long i = flat_index();
  if (i >= args.slots * args.cols) return;
  args.to[i] = args.from[args.row[i / args.cols] * args.cols + i % args.cols];
}

QUERN_KERNEL_BOUNDS(quern_slot_glu, SlotGluArgs, 256) {
  const long long i = flat_index();
  if (i >= args.n) return;
  float gate = args.gate[i], up = args.up[i];
  if (!(args.limit > 0.0f)) {
    args.gate[i] = activate(args.activation, gate) * up;
    return;
  }
  up = up < -args.limit ? -args.limit : up;
  up = args.limit < up ? args.limit : up;
  gate = args.limit < gate ? args.limit : gate;
  up = gate * (up + 1.0f);
  args.gate[i] = activate(kernels::Activation::kSigmoid, args.alpha * gate) * up;
}

QUERN_KERNEL_BOUNDS(quern_combine_slots, CombineSlotsArgs, 256) {
  const long long i = flat_index();
  if (i >= args.rows * args.cols) return;
  const long long row = i / args.cols, c = i % args.cols;
  const float* weights = args.route + (2 * row + 1) * args.used;
  float sum = 0.0f;
  for (int k = 0; k < args.used; ++k) {
    const float y = args.y[args.place[row * args.used + k] * args.cols + c] * weights[k];
    sum = k == 0 ? y : sum + y;
  }
  args.out[i] = sum;
}

}  // namespace quern::backends::cuda
