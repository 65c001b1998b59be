#include "backends/cpu/observe.h"

namespace quern::backends::cpu {
namespace {

class ObserveStep final : public Step {
 public:
  ObserveStep(LinearObserver& observer, std::string_view weight, BufferId x,
              const graph::Value& value)
      : observer_(observer), weight_(weight), x_(x), cols_(value.cols), rows_(value) {}

  void run(const StepContext& context) const override {
    const std::int64_t n = context.count(rows_);
    if (n == 0) return;
    observer_.see({weight_, 0, context.floats(x_), n, cols_}, context.thread, context.threads);
  }

 private:
  LinearObserver& observer_;
  std::string_view weight_;  ///< The graph's, which the program keeps.
  BufferId x_;
  std::int64_t cols_;
  RowKind rows_;
};

}  // namespace

void observe_rows(Lowering& lowering, const graph::Weight& weight, graph::ValueId x) {
  StepInfo info{Split::kOther, {lowering.buffer(x)}, {}};
  info.kind = "observe";
  lowering.add(std::make_unique<ObserveStep>(*lowering.options().observer, weight.name,
                                             lowering.buffer(x), lowering.value(x)),
               std::move(info));
}

}  // namespace quern::backends::cpu
