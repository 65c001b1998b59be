// Times the kernels that decide speed, one thread: matrix products in GMAC/s at several numbers of
// rows, reads in GB/s, attention. Usage: bench_kernels [isa] [encoding …].
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "kernels/dispatch.h"

namespace {

using quern::Encoding;
using quern::EncodingInfo;
namespace kernels = quern::kernels;

/// Memory aligned to 64 bytes, filled with bytes that are ordinary numbers as float16 and float32
/// too.
struct Buffer {
  std::vector<std::byte> bytes;
  std::byte* data;
  explicit Buffer(std::int64_t size) : bytes(static_cast<std::size_t>(size) + 64) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(0x38 | (i * 7 & 7));
    data = bytes.data() + (64 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 64) % 64;
  }
};

/// Best processor time of many short runs, in seconds: other work on the machine only makes it
/// longer.
template <class F>
double best_seconds(F f) {
  double best = 1e9, total = 0;
  int calls = 1;
  while (total < 0.1) {
    const std::clock_t start = std::clock();
    for (int i = 0; i < calls; ++i) f();
    const double t = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    total += t;
    if (t < 2e-4) {
      calls *= 2;  // Too short for the clock.
    } else if (t / calls < best) {
      best = t / calls;
    }
  }
  return best;
}

void time_linear(const kernels::KernelTable& table, const EncodingInfo& info, std::int64_t n,
                 std::int64_t k) {
  const auto panel = static_cast<std::int64_t>(
      quern::panel_bytes(info, static_cast<std::uint64_t>(k)).value_or(0));
  const Buffer weights(n / 16 * panel), scratch(kernels::linear_scratch_bytes(info.id, k));
  std::printf("%-9s", std::string(info.name).c_str());
  for (const std::int64_t t : {1, 2, 4, 8, 64, 480}) {
    std::vector<float> x(static_cast<std::size_t>(t * k)), y(static_cast<std::size_t>(t * n));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 23) * 0.1f - 1.0f;
    const Buffer packed(kernels::packed_rows_bytes(info.rows, t, k));
    table.pack_rows[static_cast<std::size_t>(info.rows)](
        {x.data(), k, t, k, 0, (t + 7) / 8, packed.data});
    kernels::LinearArgs args{};
    args.weights = weights.data;
    args.n = args.y_stride = n;
    args.k = k;
    args.panel_end = n / 16;
    args.x = packed.data;
    args.rows = t;
    args.y = y.data();
    args.scratch = scratch.data;
    const auto kernel = table.linear[static_cast<std::size_t>(info.id)];
    const double seconds = best_seconds([&] { kernel(args); });
    std::printf("  T=%-3d %7.1f", static_cast<int>(t),
                static_cast<double>(n * k * t) / seconds * 1e-9);
    if (t == 1) std::printf(" (%4.1f GB/s)", static_cast<double>(n / 16 * panel) / seconds * 1e-9);
  }
  std::printf("  GMAC/s\n");
}

void time_attention(const kernels::KernelTable& table, quern::KvType type, const char* name,
                    std::int64_t queries) {
  const std::int64_t hd = 64, positions = 1024, blocks = positions / 64;
  const std::int64_t kb = kernels::kv_key_block_bytes(type, hd);
  const std::int64_t vb = kernels::kv_value_block_bytes(type, hd);
  const Buffer k(blocks * kb), v(blocks * vb), q(4 * hd);
  const Buffer scratch(kernels::attention_scratch_bytes(type, hd, hd));
  const auto count = static_cast<std::size_t>(queries);
  std::vector<const float*> rows(count, reinterpret_cast<const float*>(q.data));
  const std::vector<std::int64_t> begin(count, 0), end(count, positions);
  const Buffer state(4 * kernels::attention_state_floats(queries, hd));
  const kernels::AttentionArgs args{rows.data(),
                                    queries,
                                    hd,
                                    hd,
                                    begin.data(),
                                    end.data(),
                                    {k.data, v.data, kb, vb},
                                    0,
                                    blocks,
                                    0.125f,
                                    0.0f,
                                    nullptr,
                                    nullptr,
                                    reinterpret_cast<float*>(state.data),
                                    scratch.data};
  const double seconds =
      best_seconds([&] { table.attention[static_cast<std::size_t>(type)](args); });
  std::printf("attention %-5s %2d queries  %7.1f GMAC/s\n", name, static_cast<int>(queries),
              static_cast<double>(2 * queries * positions * hd) / seconds * 1e-9);
}

void time_packing(const kernels::KernelTable& table) {
  const std::int64_t t = 64, k = 1536;
  std::vector<float> x(static_cast<std::size_t>(t * k), 0.5f);
  for (const auto format :
       {quern::RowFormat::kF32, quern::RowFormat::kQ8Group32, quern::RowFormat::kQ8Rotated}) {
    const Buffer packed(kernels::packed_rows_bytes(format, t, k));
    const auto i = static_cast<std::size_t>(format);
    const double seconds = best_seconds([&] {
      table.pack_rows[i]({x.data(), k, t, k, 0, t / 8, packed.data});
    });
    std::printf("pack rows, format %d  %7.2f G elements/s\n", static_cast<int>(i),
                static_cast<double>(t * k) / seconds * 1e-9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto chosen = argc > 1 ? kernels::kernels_for(argv[1]) : kernels::default_kernels();
  if (!chosen.ok()) {
    std::fprintf(stderr, "%s\n", chosen.error().describe().c_str());
    return 1;
  }
  const kernels::KernelTable& table = **chosen;
  std::printf("instruction set %s, N=1536 K=576\n", table.isa);
  for (const EncodingInfo* info = quern::encodings_begin(); info != quern::encodings_end();
       ++info) {
    bool wanted = info->weight && argc <= 2;
    for (int i = 2; i < argc; ++i) wanted = wanted || info->name == argv[i];
    if (wanted && info->weight) time_linear(table, *info, 1536, 576);
  }
  if (argc > 2) return 0;
  for (const std::int64_t queries : {1, 3, 8, 48}) {
    time_attention(table, quern::KvType::kF32, "f32", queries);
    time_attention(table, quern::KvType::kF16, "f16", queries);
    time_attention(table, quern::KvType::kQ8, "q8", queries);
  }
  time_packing(table);
  return 0;
}
