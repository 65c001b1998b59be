// Attention among the rows of each sequence: both directions, keys and values as the rows have
// them.
#include "backends/cuda/kernels/attention.cuh"

namespace quern::backends::cuda {
namespace {

/// The tree of kernels::KernelTable over 2·w lanes.
template <int w>
QUERN_DEVICE float folded(float (&lanes)[16]) {
  QUERN_UNROLL
  for (int i = 0; i < w; ++i) lanes[i] = lanes[i] + lanes[i + w];
  if constexpr (w == 1) {
    return lanes[0];
  } else {
    return folded<w / 2>(lanes);
  }
}

/// Σ a·b by 16 virtual lanes and the tree.
QUERN_DEVICE float lane_dot(const float* a, const float* b, int n) {
  float lanes[16] = {};
  for (int first = 0; first < n; first += 16) {
    QUERN_UNROLL
    for (int i = 0; i < 16; ++i) {
      if (first + i < n) lanes[i] = __fmaf_rn(a[first + i], b[first + i], lanes[i]);
    }
  }
  return folded<8>(lanes);
}

/// Element d of n neighbouring keys; beyond the sequence its last one again.
template <int n>
struct KeyReader {
  const float* from;
  long long stride;
  int rows;
  QUERN_DEVICE_MEMBER void operator()(int d, float (&k)[n]) const {
    QUERN_UNROLL
    for (int j = 0; j < n; ++j) k[j] = from[min(j, rows - 1) * stride + d];
  }
};

/// Two neighbouring columns of values, or one and itself where there is no second.
struct ValueReader {
  const float* from;
  long long stride;
  int second;
  QUERN_DEVICE_MEMBER float2 operator()(int j) const {
    const float* at = from + j * stride;
    return {at[0], at[second]};
  }
};

/// One head of keys and values of the rows of one sequence; positions count from its first row.
struct RowsView {
  static constexpr KvType kType = KvType::kF32;
  const EncoderAttentionArgs& args;
  int first_row, length, head;

  QUERN_DEVICE_MEMBER long long stride() const {
    return static_cast<long long>(args.shape.kv_heads) * args.shape.head_dim;
  }
  QUERN_DEVICE_MEMBER const float* at(const float* rows, int row) const {
    return rows + row * stride() + head * args.shape.head_dim;
  }
  QUERN_DEVICE_MEMBER Seen see(int row) const {
    const int position = row - first_row, window = args.shape.window;
    const int end = window > 0 ? min(length, position + window + 1) : length;
    return {window > 0 ? max(0, position - window) : 0, args.shape.causal != 0 ? position + 1 : end,
            position};
  }
  template <int n>
  QUERN_DEVICE_MEMBER KeyReader<n> keys(int p) const {
    return {at(args.k, first_row + p), stride(), length - p};
  }
  QUERN_DEVICE_MEMBER ValueReader values(int first, int d) const {
    return {at(args.v, first_row + first) + d, stride(), d + 1 < args.shape.value_dim ? 1 : 0};
  }

  QUERN_DEVICE_MEMBER bool has_positions() const {
    return args.position_keys != nullptr || args.position_queries != nullptr;
  }
  QUERN_DEVICE_MEMBER bool adds() const { return has_positions() || args.bias.values != nullptr; }
  QUERN_DEVICE_MEMBER float added(const Query& query, int p, float s) const {
    return s + (has_positions() ? position_bias(query, p) : distance_bias(args.bias, query, p));
  }
  /// scale·(q·K[position] + k·Q[position]).
  QUERN_DEVICE_MEMBER float position_bias(const Query& query, int p) const {
    const int position = args.buckets[args.bucket_back + query.position - p];
    const int n = args.shape.head_dim;
    float sum = 0.0f;
    if (args.position_keys != nullptr)
      sum = sum + lane_dot(at(args.q, query.row), at(args.position_keys, position), n);
    if (args.position_queries != nullptr)
      sum = sum + lane_dot(at(args.k, first_row + p), at(args.position_queries, position), n);
    return args.shape.scale * sum;
  }
};

}  // namespace

QUERN_KERNEL_BOUNDS(quern_encoder_attention, EncoderAttentionArgs, kAttentionThreads) {
  QUERN_DYNAMIC_SHARED(memory);
  const TilePlace place =
      place_tile(args.shape, args.sequences, [&](int s) { return args.starts[s]; });
  if (place.rows == 0) return;
  const int first_row = args.starts[place.sequence];
  const RowsView view{args, first_row, args.starts[place.sequence + 1] - first_row, place.kv_head};
  const Attend<RowsView> tile(args.shape, view, place, args.q, memory);
  tile.attend_all(nullptr, args.out);
}

}  // namespace quern::backends::cuda
