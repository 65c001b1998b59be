#include "quern/model.h"

#include <algorithm>
#include <utility>

#include "base/guard.h"
#include "quern/checked.h"
#include "runtime/model_builder.h"
#include "runtime/model_state.h"
#include "runtime/session_options.h"

namespace quern {

Result<Model> Model::open(const std::string& path, const ModelOptions& options) {
  return base::guarded([&]() -> Result<Model> {
    QUERN_TRY(file, formats::QuernFile::open(path));
    QUERN_TRY(state, runtime::build_model(std::move(file), nullptr, options));
    return Model(std::move(state));
  });
}

Result<Model> Model::from_memory(std::shared_ptr<const void> owner,
                                 std::span<const std::byte> bytes, const std::string& name,
                                 const ModelOptions& options) {
  return base::guarded([&]() -> Result<Model> {
    QUERN_TRY(file, formats::QuernFile::from_bytes(bytes, name));
    QUERN_TRY(state, runtime::build_model(std::move(file), std::move(owner), options));
    return Model(std::move(state));
  });
}

const std::string& Model::path() const noexcept { return state_->file.path(); }
const Config& Model::config() const noexcept { return state_->config; }
std::string_view Model::config_json() const noexcept { return state_->file.config_json(); }
std::string_view Model::generation_json() const noexcept { return state_->file.generation_json(); }
std::string_view Model::chat_template() const noexcept { return state_->file.chat_template(); }
std::uint64_t Model::file_bytes() const noexcept { return state_->file.file_bytes(); }
std::uint64_t Model::weights_hash() const noexcept { return state_->file.weights_hash(); }
std::string_view Model::isa() const noexcept {
  return state_->backend != nullptr ? state_->backend->isa() : std::string_view("none");
}
int Model::threads() const noexcept { return state_->executor ? state_->executor->threads() : 1; }
std::int64_t Model::vocab_size() const noexcept { return state_->vocab_size; }
std::int64_t Model::source_vocab_size() const noexcept {
  return state_->source_graph ? state_->source_graph->vocab_size : state_->vocab_size;
}
std::int64_t Model::max_seq_len() const noexcept { return state_->max_seq_len; }
bool Model::has_tokenizer() const noexcept { return state_->tokenizer.has_value(); }
bool Model::State::is_encoder() const noexcept {
  return graph != nullptr &&
         std::any_of(graph->outputs.begin(), graph->outputs.end(),
                     [](const graph::Output& o) { return o.name == "last_hidden_state"; });
}

bool Model::is_encoder() const noexcept { return state_->is_encoder(); }
bool Model::is_encoder_decoder() const noexcept { return state_->source_graph != nullptr; }
std::span<const TokenId> Model::decoder_start() const noexcept { return state_->decoder_start; }
std::int64_t Model::max_text_tokens() const noexcept { return state_->max_text_tokens; }
EmbeddingOptions Model::default_embedding() const { return state_->embedding; }
bool Model::can_run() const noexcept { return state_->graph != nullptr; }

std::vector<TensorInfo> Model::tensors() const {
  std::vector<TensorInfo> list;
  list.reserve(state_->file.tensors().size());
  for (const formats::TensorEntry& entry : state_->file.tensors()) {
    const auto dims = entry.dims.begin();
    list.push_back({entry.name,
                    entry.encoding,
                    entry.layout,
                    {dims, dims + entry.n_dims},
                    entry.data.size(),
                    entry.offset,
                    entry.checksum});
  }
  return list;
}

Result<std::string> Model::graph_text() const {
  return base::guarded([&]() -> Result<std::string> {
    if (!can_run())
      return Error(ErrorCode::kInvalidArgument, "a vocabulary alone has no graph").in_file(path());
    if (!is_encoder_decoder()) return graph::print_graph(*state_->graph);
    return "encoder:\n" + graph::print_graph(*state_->source_graph) + "decoder:\n" +
           graph::print_graph(*state_->graph);
  });
}

Result<MemoryPlan> Model::plan(const SessionOptions& options, int sequences) const {
  return base::guarded([&]() -> Result<MemoryPlan> {
    if (!can_run())
      return Error(ErrorCode::kInvalidArgument, "a vocabulary alone runs no session")
          .in_file(path());
    if (sequences < 1 || sequences > 65536)
      return Error(ErrorCode::kOutOfRange, "the number of sequences is out of range")
          .of("sequences")
          .want("1 … 65536")
          .got(std::to_string(sequences));
    QUERN_TRY(resolved, runtime::resolve_session_options(*state_, options));
    QUERN_TRY(program,
              state_->backend->plan(*state_->graph, runtime::compile_options(*state_, resolved),
                                    runtime::sequence_size(resolved)));
    if (is_encoder_decoder()) {
      QUERN_TRY(source,
                state_->backend->plan(*state_->source_graph,
                                      runtime::source_options(*state_, resolved, resolved.kv), {}));
      program.scratch_bytes += source.scratch_bytes;
      program.device.scratch_bytes += source.device.scratch_bytes;
      program.device.weights.merge(source.device.weights);
    }
    const auto kv_bytes =
        checked_mul(program.sequence_bytes, static_cast<std::uint64_t>(sequences));
    if (!kv_bytes)
      return Error(ErrorCode::kOutOfRange, "the caches exceed the address space").of("sequences");
    std::uint64_t device_bytes =
        program.device.scratch_bytes +
        program.device.sequence_bytes * static_cast<std::uint64_t>(sequences);
    for (const auto& [address, bytes] : program.device.weights) device_bytes += bytes;
    return MemoryPlan{state_->weights_bytes, *kv_bytes, program.scratch_bytes, device_bytes};
  });
}

SamplingOptions Model::default_sampling() const { return state_->generation.sampling; }
BeamOptions Model::default_beams() const { return state_->generation.beams; }

}  // namespace quern
