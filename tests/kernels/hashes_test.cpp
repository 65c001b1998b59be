// The oracle's results are the same bits on every machine: their hashes are recorded here. An
// instruction set that cannot run beside the recorded machine's (NEON) is tied to it through its
// own oracle. A hash that is recorded anew asks for another kNumericsRevision (kernel_table.h).
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/scalar_math.h"
#include "kernels/harness.h"

namespace quern::kernels::test {
namespace {

std::vector<float> numbers(std::int64_t n, std::uint64_t seed, bool wild) {
  Random random(seed);
  std::vector<float> x;
  for (std::int64_t i = 0; i < n; ++i) x.push_back(random.number(wild));
  return x;
}

std::uint64_t hash_linear(Encoding e) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const bool wild : {false, true}) {
    Random random(50 + static_cast<std::uint64_t>(e));
    const std::int64_t n = 33, k = 160, t = 11;
    const Weights w(e, n, k, random, wild);
    const std::vector<float> x = numbers(t * k, 51, wild);
    Guarded packed(packed_rows_bytes(w.info->rows, t, k)), scratch(linear_scratch_bytes(e, k));
    const KernelTable& table = oracle();
    table.pack_rows[static_cast<std::size_t>(w.info->rows)](
        {x.data(), k, t, k, 0, 2, packed.data()});
    std::vector<float> y(static_cast<std::size_t>(n * t)), row(static_cast<std::size_t>(k));
    LinearArgs args{};
    args.weights = w.bytes.data();
    args.n = args.y_stride = n;
    args.k = k;
    args.panel_end = w.panels;
    args.x = packed.data();
    args.rows = t;
    args.y = y.data();
    args.scratch = scratch.data();
    table.linear[static_cast<std::size_t>(e)](args);
    table.gather_row[static_cast<std::size_t>(e)](w.bytes.data(), 18, k, row.data());
    h = hash_floats(y.data(), n * t, h);
    h = hash_floats(row.data(), k, h);
  }
  return h;
}

std::uint64_t hash_rows() {
  std::uint64_t h = 0xcbf29ce484222325u;
  const KernelTable& table = oracle();
  for (const bool wild : {false, true}) {
    const std::int64_t n = 301;
    const std::vector<float> a = numbers(n, 61, wild), b = numbers(n, 62, wild);
    std::vector<float> y(static_cast<std::size_t>(n));
    const auto take = [&] { h = hash_floats(y.data(), n, h); };
    table.rms_norm(a.data(), b.data(), 1e-5f, n, y.data());
    take();
    table.layer_norm(a.data(), b.data(), a.data(), 1e-5f, n, y.data());
    take();
    table.softcap(a.data(), 2.5f, n, y.data());
    take();
    table.cutoff(a.data(), 0.8f, n, y.data());
    const float* const from = b.data();
    const float factor = 0.3f;
    table.mix(y.data(), &from, &factor, 1, n, y.data());
    take();
    for (const auto f : table.glu) {
      f(a.data(), b.data(), n, y.data());
      take();
    }
    y = a;
    table.softmax(y.data(), n);
    take();
    y = a;
    table.rope(y.data(), b.data(), a.data(), n, false);
    table.rope(y.data(), b.data(), a.data(), n, true);
    y[0] = table.dot(a.data(), b.data(), n);
    take();
  }
  return h;
}

std::uint64_t hash_attention(KvType type) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const bool wild : {false, true}) {
    const std::int64_t hd = 24, vd = 20, positions = 100;
    const std::vector<float> x = numbers(positions * (hd + vd) + hd, 71, wild);
    const std::int64_t key_bytes = kv_key_block_bytes(type, hd);
    const std::int64_t block_bytes = key_bytes + kv_value_block_bytes(type, vd);
    Guarded memory(2 * block_bytes);
    const KvHead head{memory.data(), memory.data() + key_bytes, block_bytes,
                      kSpanBlocks * block_bytes};
    Guarded rotated(kv_store_scratch_bytes(type, hd));
    const float* at = x.data() + hd;
    for (std::int64_t pos = 0; pos < positions; ++pos, at += hd + vd) {
      oracle().kv_store[static_cast<std::size_t>(type)](
          {head, hd, vd, pos, at, at + hd, rotated.data()});
    }
    const float* q = x.data();
    const std::int64_t begin = 3, end = positions;
    const float slope = 0.01f;
    float state[64], out[20];
    float* to = out;
    Guarded scratch(attention_scratch_bytes(type, hd, vd));
    AttentionArgs args{};
    args.q = &q;
    args.n_queries = 1;
    args.head_dim = hd;
    args.value_dim = vd;
    args.begin = &begin;
    args.end = &end;
    args.head = head;
    args.block_end = 2;
    args.scale = 0.3f;
    args.softcap = 4.0f;
    args.alibi_slope = &slope;
    args.state = state;
    args.scratch = scratch.data();
    oracle().attention[static_cast<std::size_t>(type)](args);
    oracle().attention_finish(1, vd, state, &to);
    h = hash_floats(out, vd, h);
  }
  return h;
}

std::uint64_t hash_convolution() {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const bool wild : {false, true}) {
    const std::int64_t rows = 5, cols = 19, kernel = 4;
    const std::vector<float> x = numbers(rows * cols, 81, wild),
                             w = numbers(kernel * cols, 82, wild);
    std::vector<float> out(x.size()), past = numbers((kernel - 1) * cols, 83, wild);
    for (const bool silu : {false, true}) {
      ConvArgs args{};
      args.rows = rows;
      args.cols = args.end = cols;
      args.kernel = kernel;
      args.weight = w.data();
      args.bias = silu ? x.data() : nullptr;
      args.x = x.data();
      args.out = out.data();
      args.past = past.data();
      args.silu = silu;
      oracle().causal_conv(args);
      h = hash_floats(out.data(), rows * cols, h);
    }
    h = hash_floats(past.data(), (kernel - 1) * cols, h);
  }
  return h;
}

/// Three heads of seven columns, whose states decay slowly, fast and below the least scale.
std::uint64_t hash_scan(bool own_rates) {
  std::uint64_t h = 0xcbf29ce484222325u;
  const std::int64_t rows = 9, heads = 3, columns = 21, n = 10;
  const std::int64_t places = 2 * kScanColumns * (n + (own_rates ? 0 : 1));  // Two blocks.
  const std::vector<float> x = numbers(rows * columns, 91, false), b = numbers(rows * n, 92, false);
  std::vector<float> rates, step, softened(static_cast<std::size_t>(rows * heads));
  for (std::int64_t i = 0; i < (own_rates ? places : heads); ++i)
    rates.push_back(-0.03f * static_cast<float>(1 << (i % 3 * 5)));
  step = numbers(rows * heads, 93, false);
  oracle().softplus(step.data(), rows * heads, softened.data());
  std::vector<float> out(x.size()), state(static_cast<std::size_t>(places));
  ScanArgs args{};
  args.rows = rows;
  args.columns = columns;
  args.head_dim = columns / heads;
  args.n = n;
  args.a = rates.data();
  args.rates = own_rates ? n : 1;
  args.skip = x.data();
  args.step = softened.data();
  args.step_stride = heads;
  args.b = b.data();
  args.c = x.data();
  args.b_stride = n;
  args.x = x.data();
  args.out = out.data();
  args.x_stride = columns;
  args.state = state.data();
  oracle().scan(args);
  h = hash_floats(out.data(), rows * columns, h);
  return hash_floats(state.data(), places, h);
}

std::uint64_t hash_doubles() {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (int i = -2000; i <= 2000; ++i) {
    const double x = i * 0.37;
    const base::SinCos both = base::sin_cos(x * 1000);
    const double values[] = {both.sin,
                             both.cos,
                             base::exp(x),
                             base::tanh(x / 50),
                             base::log(std::fabs(x)),
                             base::pow(std::fabs(x), 0.7)};
    for (const double value : values) {
      // The double's own bits, as the two floats that hold its upper and lower part.
      const auto upper = static_cast<float>(value);
      const auto lower = static_cast<float>(value - static_cast<double>(upper));
      h = hash_floats(&upper, 1, h);
      h = hash_floats(&lower, 1, h);
    }
  }
  return h;
}

struct Recorded {
  const char* name;
  std::function<std::uint64_t()> compute;
  std::uint64_t hash;
};

std::vector<Recorded> recorded() {
  const auto linear = [](Encoding e) { return [e] { return hash_linear(e); }; };
  const auto attention = [](KvType t) { return [t] { return hash_attention(t); }; };
  return {
      {"f32", linear(Encoding::kF32), 0xe50c3fc173a9ceb1u},
      {"f16", linear(Encoding::kF16), 0x034737ce10243782u},
      {"bf16", linear(Encoding::kBF16), 0x6003500a98e00ebbu},
      {"q4_0", linear(Encoding::kQ4_0), 0x17aa65954b272db9u},
      {"q4_1", linear(Encoding::kQ4_1), 0x21faf5359ab43027u},
      {"q5_0", linear(Encoding::kQ5_0), 0x63ca650be5f356c4u},
      {"q5_1", linear(Encoding::kQ5_1), 0x1b3d12addc44232eu},
      {"q8_0", linear(Encoding::kQ8_0), 0xc69721327df5e33fu},
      {"q2_k", linear(Encoding::kQ2_K), 0x4232d8867e66e720u},
      {"q3_k", linear(Encoding::kQ3_K), 0x9f704a312478ed71u},
      {"q4_k", linear(Encoding::kQ4_K), 0x348b623e09bb069fu},
      {"q5_k", linear(Encoding::kQ5_K), 0xc259e84ae3d846d6u},
      {"q6_k", linear(Encoding::kQ6_K), 0xeec3abb56d694b0eu},
      {"iq4_nl", linear(Encoding::kIQ4_NL), 0x81d29c2bd76af1ceu},
      {"iq4_xs", linear(Encoding::kIQ4_XS), 0x645dc392efd62962u},
      {"mxfp4", linear(Encoding::kMXFP4), 0xd6eea0378bad30cau},
      {"qr8", linear(Encoding::kQR8), 0x26868c7d8d6fd318u},
      {"qr4", linear(Encoding::kQR4), 0x3e0ec4d15a4042abu},
      {"attention f32", attention(KvType::kF32), 0x12cc936c13a985c9u},
      {"attention f16", attention(KvType::kF16), 0xc071b30dd3033ac9u},
      {"attention bf16", attention(KvType::kBF16), 0xe6f0de9076490326u},
      {"attention q8", attention(KvType::kQ8), 0x80eaeb08ce1817aau},
      {"attention q4", attention(KvType::kQ4), 0x85209bb18eda0fa1u},
      {"rows", hash_rows, 0xa5979e7c263eff2fu},
      {"convolution", hash_convolution, 0x04269d1210c9199du},
      {"scan, one rate", [] { return hash_scan(false); }, 0x40b814a19068923du},
      {"scan, own rates", [] { return hash_scan(true); }, 0x7919af5ec582937bu},
      {"doubles", hash_doubles, 0x5c785a3f550c538du},
  };
}

}  // namespace

TEST_CASE("the oracle's results have the recorded hashes, on every machine") {
  for (const Recorded& entry : recorded()) {
    CAPTURE(std::string(entry.name));
    const std::uint64_t got = entry.compute();
    CHECK(got == entry.hash);
  }
}

}  // namespace quern::kernels::test
