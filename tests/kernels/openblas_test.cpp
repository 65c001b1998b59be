// Float products against an independent library.
#ifdef QUERN_TEST_OPENBLAS
#include <cblas.h>
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/harness.h"

namespace quern::kernels::test {

TEST_CASE("float32 products agree with OpenBLAS") {
  Random random(41);
  const int n = 48, k = 200, t = 9;
  const Weights w(Encoding::kF32, n, k, random, false);
  std::vector<float> rows(n * k), x(t * k), want(t * n), got(t * n);
  for (float& v : x) v = random.number(false);
  for (int i = 0; i < n; ++i) oracle().gather_row[0](w.bytes.data(), i, k, rows.data() + i * k);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, t, n, k, 1.0f, x.data(), k, rows.data(), k,
              0.0f, want.data(), n);
  Guarded packed(packed_rows_bytes(RowFormat::kF32, t, k));
  Guarded scratch(linear_scratch_bytes(Encoding::kF32, k));
  for (const KernelTable* table : tables()) {
    table->pack_rows[0]({x.data(), k, t, k, 0, 2, packed.data()});
    LinearArgs args{};
    args.weights = w.bytes.data();
    args.n = args.y_stride = n;
    args.k = k;
    args.panel_end = w.panels;
    args.x = packed.data();
    args.rows = t;
    args.y = got.data();
    args.scratch = scratch.data();
    table->linear[0](args);
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::fabs(want[i] - got[i]) < 1e-4f);
  }
}

}  // namespace quern::kernels::test
#endif
