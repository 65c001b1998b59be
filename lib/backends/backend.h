/// \file
/// What every backend offers: it compiles a graph into a program and runs steps of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string_view>

#include "backends/linear_observer.h"
#include "base/ranked_logit.h"
#include "graph/graph.h"
#include "quern/executor.h"
#include "quern/kv_type.h"
#include "quern/result.h"
#include "quern/trace.h"

namespace quern::backends {

/// Keys, values and other state of one sequence, for all layers. Owned by a session.
/// Thread rule: one thread at a time, and never while a step with it runs.
class SequenceState {
 public:
  virtual ~SequenceState() = default;
  virtual std::int64_t capacity() const noexcept = 0;  ///< Positions that fit.
  /// Says how many rows of a source stand in the state, after the source's graph has run with it;
  /// from then on the sequence attends to them. \pre at most SequenceSize::source.
  virtual void set_source_rows(std::int64_t rows) noexcept = 0;
  virtual std::uint64_t bytes() const noexcept = 0;  ///< Exact size of the reservation.
  /// Forgets positions ≥ `position`; kUnsupported where the state cannot go back.
  virtual Status rewind(std::int64_t position) = 0;
  /// Whether the state can go back to any position.
  virtual bool rewinds() const noexcept { return true; }
  /// Copies positions 0 … position − 1 of `other` (same program), whose source becomes that of
  /// both: neither may be given another one while the other is in use.
  virtual Status copy_from(const SequenceState& other, std::int64_t position) = 0;
};

/// How long a sequence may become.
struct SequenceSize {
  std::int64_t positions = 0;
  std::int64_t source = 0;  ///< Rows of the source; 0: the graph has none.
};

/// The rows of one step. Rows of one sequence stand together, in order of position. `sequences` may
/// be empty for a graph without states.
struct StepBinding {
  std::span<const std::int32_t> tokens;       ///< `[T]`
  std::span<const std::int64_t> positions;    ///< `[T]`
  std::span<SequenceState* const> sequences;  ///< `[T]`
  std::span<const std::int32_t> output_rows;  ///< Ascending row indices.
  /// `[T]`: how long the row's sequence will be once all that was asked for is evaluated, however
  /// it is cut into steps. Empty: as long as its position says.
  std::span<const std::int64_t> lengths = {};
  std::span<const std::int32_t> types = {};  ///< `[T]` token types; empty: all 0.
  /// First row of each sequence, ascending; for graphs without cache, whose sequences lie in the
  /// step as a whole.
  std::span<const std::int32_t> starts = {};
  /// `[T, cols]` for each of the graph's inputs (graph::InputOp), by number.
  std::span<const std::span<const float>> inputs = {};
  /// How many of the best of the output "logits" the caller can do with, in every output row; 0:
  /// it wants all. A backend to which the rest is far may leave it there (Program::best).
  std::int64_t best = 0;

  std::int64_t length_of(std::int64_t row) const noexcept {
    const auto at = static_cast<std::size_t>(row);
    return lengths.empty() ? positions[at] + 1 : lengths[at];
  }
};

struct CompileOptions {
  std::int64_t max_rows = 512;        ///< Largest T.
  std::int64_t max_outputs = 1;       ///< Largest number of output rows of a step.
  std::int64_t max_positions = 8192;  ///< Largest position + 1 of any sequence.
  std::int64_t max_source = 0;        ///< Most rows of a source that any sequence attends to.
  KvType kv = KvType::kAuto;
  /// What the processor's encoder attention keeps keys and values as within a step; kAuto: f32.
  KvType encoder_kv = KvType::kAuto;
  std::shared_ptr<Executor> executor;
  bool fast = false;
  std::int64_t trace_events = 0;       ///< Events kept of each thread; 0: no trace.
  LinearObserver* observer = nullptr;  ///< Sees what enters products; nullptr: nobody.
};

/// A compiled graph with its memory. Thread rule: one step at a time.
class Program {
 public:
  virtual ~Program() = default;
  /// Runs one step; allocates, locks and logs nothing. \pre sizes within CompileOptions, token ids
  /// and positions in range (the runtime checks them).
  virtual Status run(const StepBinding& step) = 0;
  /// The named output of the last step: `[output rows, cols]`, or all rows, or one per sequence, as
  /// the graph has it.
  virtual std::span<const float> output(std::string_view name) const = 0;
  /// The best logits of an output row of the last step, as many as StepBinding::best said or the
  /// row has, the best one first; `output("logits")` is empty then. Empty where the backend chose
  /// to give that output whole. What is no number or +∞ comes first, as +∞; −0 comes as 0.
  virtual std::span<const base::RankedLogit> best(std::int64_t row) const {
    static_cast<void>(row);
    return {};
  }
  virtual std::uint64_t scratch_bytes() const noexcept = 0;
  virtual KvType kv() const noexcept = 0;
  /// Of all steps so far; empty where CompileOptions::trace_events is 0.
  virtual StepTrace trace() const = 0;
  /// A sequence may also be bound to the program of its source's graph, compiled for the same
  /// cache.
  virtual Result<std::unique_ptr<SequenceState>> new_sequence(const SequenceSize& size) const = 0;
};

/// What a program takes of the memory of a device that has its own.
struct DeviceMemory {
  std::uint64_t scratch_bytes = 0;
  std::uint64_t sequence_bytes = 0;
  /// Bytes of each weight, by where the file has it: programs share them.
  std::map<const std::byte*, std::uint64_t> weights;
};

/// Exact sizes, computed without allocating.
struct ProgramPlan {
  std::uint64_t scratch_bytes = 0;
  std::uint64_t sequence_bytes = 0;  ///< One sequence of the asked size.
  DeviceMemory device = {};          ///< Of these, and of weights, what a device has.
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual std::string_view isa() const noexcept = 0;
  /// Whether the machine has what the backend needs; the error says what it lacks.
  virtual Status available() const { return {}; }
  /// An op or encoding that the backend lacks is kUnsupported naming op, shape and backend.
  virtual Result<std::unique_ptr<Program>> compile(std::shared_ptr<const graph::Graph> graph,
                                                   const CompileOptions& options) const = 0;
  virtual Result<ProgramPlan> plan(const graph::Graph& graph, const CompileOptions& options,
                                   const SequenceSize& size) const = 0;
};

/// The registry: the only place that knows which backends this build holds.
Result<const Backend*> find_backend(std::string_view name);

}  // namespace quern::backends
