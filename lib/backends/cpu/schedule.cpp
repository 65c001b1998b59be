#include "backends/cpu/schedule.h"

#include <algorithm>

#include "graph/planner.h"

namespace quern::backends::cpu {
namespace {

constexpr std::int32_t kForever = std::int32_t{1} << 30;

std::size_t at(std::int32_t id) { return static_cast<std::size_t>(id); }

/// Builds one schedule; the members are by step or by buffer.
class Scheduler {
 public:
  Scheduler(std::span<const StepInfo> steps, std::span<const BufferInfo> buffers, bool few)
      : steps_(steps),
        buffers_(buffers),
        few_(few),
        uses_(buffers.size()),
        own_(buffers.size(), false),
        replicated_(steps.size(), few),
        is_output_(buffers.size(), false) {
    // A buffer is made after the one whose place it takes, so that one's root is known.
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const BufferId before = few ? BufferId{-1} : buffers[i].takes_over;
      roots_.push_back(before >= 0 ? root(before) : static_cast<BufferId>(i));
      if (buffers[i].is_output) is_output_[at(roots_[i])] = true;
    }
  }

  Schedule run() {
    if (few_) find_replicated();
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].when == When::kAlways || (steps_[i].when == When::kFew) == few_) append(i);
    }
    if (!few_) find_tile_buffers();
    place();
    return std::move(schedule_);
  }

 private:
  struct Use {
    std::int32_t first = -1, last = -1;  ///< Phases: what stands between two barriers.
    std::int32_t write_phase = -1, read_phase = -1;
    Split write_split = Split::kOther, read_split = Split::kOther;
    std::size_t first_run = 0, last_run = 0;
  };

  /// The buffer whose memory `id` uses.
  BufferId root(BufferId id) const { return roots_[at(id)]; }

  /// A step is replicated if it goes by rows and all that it writes can be every thread's own; a
  /// buffer can if every step that writes it is replicated.
  void find_replicated() {
    for (std::size_t i = 0; i < buffers_.size(); ++i)
      own_[i] = !is_output_[i] && !buffers_[i].is_constant;
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < steps_.size(); ++i) {
        if (!replicated_[i] || steps_[i].when == When::kMany) continue;
        const bool all_own = std::all_of(steps_[i].writes.begin(), steps_[i].writes.end(),
                                         [&](BufferId id) { return own_[at(id)]; });
        if (steps_[i].split != Split::kOther && all_own) continue;
        replicated_[i] = false;
        for (const BufferId id : steps_[i].writes) own_[at(id)] = false;
        changed = true;
      }
    }
  }

  /// The split as far as conflicts go: a replicated step reads what is shared in any order.
  Split access_of(std::size_t step) const {
    return replicated_[step] ? Split::kOther : steps_[step].split;
  }

  bool conflicts(BufferId id, Split split, bool write) const {
    if (own_[at(id)]) return false;
    const Use& use = uses_[at(root(id))];
    const auto apart = [&](Split other) { return split == Split::kOther || split != other; };
    if (use.write_phase == phase_ && apart(use.write_split)) return true;
    return write && use.read_phase == phase_ && apart(use.read_split);
  }

  void note(BufferId id, Split split, bool write) {
    Use& use = uses_[at(root(id))];
    use.last_run = schedule_.runs.size() - 1;
    if (use.first < 0) {
      use.first = phase_;
      use.first_run = use.last_run;
    }
    use.last = phase_;
    std::int32_t& last_phase = write ? use.write_phase : use.read_phase;
    Split& known = write ? use.write_split : use.read_split;
    known = last_phase == phase_ && known != split ? Split::kOther : split;
    last_phase = phase_;
  }

  void append(std::size_t step) {
    const StepInfo& info = steps_[step];
    const Split split = access_of(step);
    const bool barrier = std::any_of(info.reads.begin(), info.reads.end(),
                                     [&](BufferId id) { return conflicts(id, split, false); }) ||
                         std::any_of(info.writes.begin(), info.writes.end(),
                                     [&](BufferId id) { return conflicts(id, split, true); });
    if (barrier) ++phase_;
    const bool replicated = replicated_[step];
    const bool joins = !barrier && !schedule_.runs.empty() &&
                       schedule_.runs.back().split == info.split &&
                       schedule_.runs.back().replicated == replicated &&
                       schedule_.runs.back().constant_rows == info.constant_rows;
    if (!joins) {
      const std::size_t begin = schedule_.steps.size();
      schedule_.runs.push_back({begin, begin, info.split, replicated, barrier, info.constant_rows});
    }
    schedule_.steps.push_back(static_cast<std::int32_t>(step));
    schedule_.runs.back().end = schedule_.steps.size();
    for (const BufferId id : info.reads) note(id, split, false);
    for (const BufferId id : info.writes) note(id, split, true);
  }

  void find_tile_buffers() {
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      const auto id = static_cast<BufferId>(i);
      const Use& use = uses_[i];
      if (root(id) != id || use.first < 0 || use.first_run != use.last_run) continue;
      Run& run = schedule_.runs[use.first_run];
      if (run.split == Split::kOther || buffers_[i].row_bytes == 0) continue;
      if (is_output_[i] || buffers_[i].is_constant) continue;
      own_[i] = true;
      for (std::size_t j = i; j < buffers_.size(); ++j) {
        const auto alias = static_cast<BufferId>(j);
        if (root(alias) == id) run.tile_buffers.push_back({alias, buffers_[j].row_bytes});
      }
    }
  }

  /// A buffer lives from its first phase to its last: within a phase threads run freely, so phases,
  /// not steps, are the unit of time.
  void place() {
    schedule_.places.resize(buffers_.size(), {0, Part::kShared});
    schedule_.constant_bytes = place(Part::kConstants);
    schedule_.shared_bytes = place(Part::kShared);
    schedule_.own_bytes = place(Part::kOwn);
    for (std::size_t i = 0; i < buffers_.size(); ++i)
      schedule_.places[i] = schedule_.places[at(roots_[i])];
  }

  Part part_of(std::size_t buffer) const {
    if (buffers_[buffer].is_constant) return Part::kConstants;
    return own_[buffer] ? Part::kOwn : Part::kShared;
  }

  /// Constants live for ever, used or not, so that both schedules find them in the same place.
  graph::Lifetime lifetime_of(std::size_t buffer, Part part) const {
    const BufferInfo& info = buffers_[buffer];
    if (part == Part::kConstants) return {info.many_bytes, 0, kForever};
    return {few_ || part == Part::kOwn ? info.few_bytes : info.many_bytes, uses_[buffer].first,
            is_output_[buffer] ? kForever : uses_[buffer].last};
  }

  /// Places the buffers that lie in `part`. \return their bytes.
  std::int64_t place(Part part) {
    std::vector<graph::Lifetime> lifetimes;
    std::vector<std::size_t> placed;
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      if (at(roots_[i]) != i || part_of(i) != part) continue;
      if (part != Part::kConstants && uses_[i].first < 0) continue;
      lifetimes.push_back(lifetime_of(i, part));
      placed.push_back(i);
    }
    const graph::BufferPlan plan = graph::plan_buffers(lifetimes);
    for (std::size_t i = 0; i < placed.size(); ++i)
      schedule_.places[placed[i]] = {plan.offsets[i], part};
    return plan.total_bytes;
  }

  std::span<const StepInfo> steps_;
  std::span<const BufferInfo> buffers_;
  const bool few_;
  std::vector<Use> uses_;
  std::vector<bool> own_, replicated_;
  std::vector<bool> is_output_;  ///< By root: read after the step.
  std::vector<BufferId> roots_;
  Schedule schedule_;
  std::int32_t phase_ = 0;
};

}  // namespace

Schedule make_schedule(std::span<const StepInfo> steps, std::span<const BufferInfo> buffers,
                       bool few) {
  return Scheduler(steps, buffers, few).run();
}

}  // namespace quern::backends::cpu
