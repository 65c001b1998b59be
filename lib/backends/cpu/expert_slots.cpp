#include "backends/cpu/expert_slots.h"

#include <cstring>

namespace quern::backends::cpu {
namespace {

class SortSlotsStep final : public Step {
 public:
  explicit SortSlotsStep(const ExpertsShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    if (context.thread != 0) return;
    const SlotTable table = shape_.slot_table(context);
    const float* route = context.floats(shape_.route);
    const auto expert = [&](std::int64_t row, std::int64_t i) {
      return static_cast<std::int32_t>(route[row * 2 * shape_.n_used + i]);
    };
    std::fill_n(table.begin, shape_.n_experts + 1, 0);
    for (std::int64_t row = 0; row < context.rows(); ++row) {
      for (std::int64_t i = 0; i < shape_.n_used; ++i) ++table.begin[expert(row, i) + 1];
    }
    std::int32_t tiles = 0;
    for (std::int64_t e = 0; e < shape_.n_experts; ++e) {
      table.tile[e] = tiles;
      tiles += (table.begin[e + 1] + 7) / static_cast<std::int32_t>(kernels::kRowTile);
      table.begin[e + 1] += table.begin[e];
    }
    for (std::int64_t row = 0; row < context.rows(); ++row) {
      for (std::int64_t i = 0; i < shape_.n_used; ++i) {
        const std::int32_t at = table.begin[expert(row, i)]++;
        table.row[at] = static_cast<std::int32_t>(row);
        table.place[row * shape_.n_used + i] = at;
      }
    }
    // Each begin now is the next expert's.
    std::copy_backward(table.begin, table.begin + shape_.n_experts,
                       table.begin + shape_.n_experts + 1);
    table.begin[0] = 0;
  }

 private:
  ExpertsShape shape_;
};

class PackSlotsStep final : public Step {
 public:
  PackSlotsStep(const ExpertsShape& shape, const SlotPack& pack) : shape_(shape), pack_(pack) {}

  void run(const StepContext& context) const override {
    const SlotTable table = shape_.slot_table(context);
    const std::int64_t cols = pack_.cols;
    float* from = context.floats(pack_.rows);
    std::byte* to = context.bytes(pack_.packed);
    for (std::int64_t e = context.thread; e < shape_.n_experts; e += context.threads) {
      const std::int64_t begin = table.begin[e], n = table.begin[e + 1] - begin;
      if (n == 0) continue;
      if (pack_.gathers) gather(context, table, begin, n);
      context.kernels.pack_rows[static_cast<std::size_t>(pack_.format)](
          {from + begin * cols, cols, n, cols, 0, (n + kernels::kRowTile - 1) / kernels::kRowTile,
           to + table.tile[e] * tile_bytes(pack_.format, cols)});
    }
  }

 private:
  void gather(const StepContext& context, const SlotTable& table, std::int64_t begin,
              std::int64_t n) const {
    for (std::int64_t i = begin; i < begin + n; ++i) {
      std::memcpy(context.floats(pack_.rows) + i * pack_.cols,
                  context.floats(shape_.x) + table.row[i] * pack_.cols,
                  static_cast<std::size_t>(pack_.cols) * sizeof(float));
    }
  }

  ExpertsShape shape_;
  SlotPack pack_;
};

class ObserveSlotsStep final : public Step {
 public:
  ObserveSlotsStep(const ExpertsShape& shape, LinearObserver& observer, std::string_view weight,
                   BufferId rows, std::int64_t cols)
      : shape_(shape), observer_(observer), weight_(weight), rows_(rows), cols_(cols) {}

  void run(const StepContext& context) const override {
    const SlotTable table = shape_.slot_table(context);
    for (std::int64_t e = 0; e < shape_.n_experts; ++e) {
      const std::int64_t first = table.begin[e], n = table.begin[e + 1] - first;
      if (n == 0) continue;
      observer_.see({weight_, e, context.floats(rows_) + first * cols_, n, cols_}, context.thread,
                    context.threads);
    }
  }

 private:
  ExpertsShape shape_;
  LinearObserver& observer_;
  std::string_view weight_;  ///< The graph's, which the program keeps.
  BufferId rows_;
  std::int64_t cols_;
};

class CombineStep final : public Step {
 public:
  explicit CombineStep(const ExpertsShape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    const SlotTable table = shape_.slot_table(context);
    const auto [begin, end] = context.share(context.rows());
    for (std::int64_t row = begin; row < end; ++row) {
      const float* weights = context.floats(shape_.route) + row * 2 * shape_.n_used + shape_.n_used;
      float* out = context.floats(shape_.out) + row * shape_.dim;
      for (std::int64_t i = 0; i < shape_.n_used; ++i) {
        float* y = context.floats(shape_.down) + table.place[row * shape_.n_used + i] * shape_.dim;
        context.kernels.scale(y, weights[i], shape_.dim, i == 0 ? out : y);
        if (i > 0) context.kernels.add(out, y, shape_.dim, out);
      }
    }
  }

 private:
  ExpertsShape shape_;
};

}  // namespace

std::unique_ptr<Step> make_sort_slots(const ExpertsShape& shape) {
  return std::make_unique<SortSlotsStep>(shape);
}
std::unique_ptr<Step> make_pack_slots(const ExpertsShape& shape, const SlotPack& pack) {
  return std::make_unique<PackSlotsStep>(shape, pack);
}
std::unique_ptr<Step> make_observe_slots(const ExpertsShape& shape, LinearObserver& observer,
                                         std::string_view weight, BufferId rows,
                                         std::int64_t cols) {
  return std::make_unique<ObserveSlotsStep>(shape, observer, weight, rows, cols);
}
std::unique_ptr<Step> make_combine_slots(const ExpertsShape& shape) {
  return std::make_unique<CombineStep>(shape);
}

}  // namespace quern::backends::cpu
