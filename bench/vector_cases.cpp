// Kernels over one row of numbers, as bench_kernels times them: 1,536 numbers, in the first cache.
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "kernel_case.h"
#include "kernels/harness.h"

namespace quern::bench {
namespace {

using kernels::KernelTable;

constexpr std::int64_t kCount = 1536;

struct Row {
  std::vector<float> x, w, y;
};

using Work = std::function<void(const KernelTable&, Row&)>;

KernelCase row_case(std::string name, Work work) {
  const auto row = std::make_shared<Row>();
  kernels::test::Random random(5);
  for (std::int64_t i = 0; i < kCount; ++i) {
    row->x.push_back(random.number(false));
    row->w.push_back(random.number(false));
  }
  row->y.resize(static_cast<std::size_t>(kCount));
  KernelCase one;
  one.name = std::move(name);
  one.shape = "1536";
  one.elements = static_cast<double>(kCount);
  one.run = [row, work = std::move(work)](const KernelTable& table) { work(table, *row); };
  one.output = [row] { return std::span<const float>(row->y); };
  return one;
}

std::vector<KernelCase> plain_cases() {
  std::vector<KernelCase> cases;
  const auto add = [&](const char* name, Work work) {
    cases.push_back(row_case(name, std::move(work)));
  };
  add("rms_norm", [](const KernelTable& table, Row& row) {
    table.rms_norm(row.x.data(), row.w.data(), 1e-5F, kCount, row.y.data());
  });
  add("layer_norm", [](const KernelTable& table, Row& row) {
    table.layer_norm(row.x.data(), row.w.data(), row.w.data(), 1e-5F, kCount, row.y.data());
  });
  add("add", [](const KernelTable& table, Row& row) {
    table.add(row.x.data(), row.w.data(), kCount, row.y.data());
  });
  add("mul", [](const KernelTable& table, Row& row) {
    table.mul(row.x.data(), row.w.data(), kCount, row.y.data());
  });
  add("scale", [](const KernelTable& table, Row& row) {
    table.scale(row.x.data(), 1.5F, kCount, row.y.data());
  });
  add("softcap", [](const KernelTable& table, Row& row) {
    table.softcap(row.x.data(), 30.0F, kCount, row.y.data());
  });
  add("softplus", [](const KernelTable& table, Row& row) {
    table.softplus(row.x.data(), kCount, row.y.data());
  });
  add("clamp", [](const KernelTable& table, Row& row) {
    table.clamp(row.x.data(), 0.5F, kCount, row.y.data());
  });
  add("cutoff", [](const KernelTable& table, Row& row) {
    table.cutoff(row.x.data(), 0.5F, kCount, row.y.data());
  });
  add("mix", [](const KernelTable& table, Row& row) {
    const std::array<const float*, 2> xs{row.w.data(), row.x.data()};
    const std::array<float, 2> factors{0.5F, -1.5F};
    table.mix(row.x.data(), xs.data(), factors.data(), 2, kCount, row.y.data());
  });
  add("softmax", [](const KernelTable& table, Row& row) {
    row.y = row.x;
    table.softmax(row.y.data(), kCount);
  });
  add("dot", [](const KernelTable& table, Row& row) {
    row.y[0] = table.dot(row.x.data(), row.w.data(), kCount);
  });
  add("rope angles", [](const KernelTable& table, Row& row) {
    table.rope_angles(1000, row.x.data(), kCount / 2, 1.0F, row.y.data(),
                      row.y.data() + kCount / 2);
  });
  for (const bool interleaved : {false, true})
    add(interleaved ? "rope interleaved" : "rope",
        [interleaved](const KernelTable& table, Row& row) {
          row.y = row.x;
          table.rope(row.y.data(), row.w.data(), row.w.data() + kCount / 2, kCount, interleaved);
        });
  return cases;
}

}  // namespace

std::vector<KernelCase> vector_cases() {
  constexpr std::array<const char*, kernels::kActivations> kNames{
      "silu", "gelu tanh", "gelu erf", "relu", "relu2", "tanh", "sigmoid"};
  std::vector<KernelCase> cases = plain_cases();
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    cases.push_back(
        row_case(std::string("activation ") + kNames[i], [i](const KernelTable& table, Row& row) {
          table.activation[i](row.x.data(), kCount, row.y.data());
        }));
    cases.push_back(
        row_case(std::string("glu ") + kNames[i], [i](const KernelTable& table, Row& row) {
          table.glu[i](row.x.data(), row.w.data(), kCount, row.y.data());
        }));
  }
  return cases;
}

}  // namespace quern::bench
