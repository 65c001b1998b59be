#include "runtime/model_builder.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include "backends/split_backend.h"
#include "base/log.h"
#include "formats/cache_choice.h"
#include "formats/json.h"
#include "kernels/dispatch.h"
#include "models/architecture.h"
#include "runtime/executor_lock.h"
#include "runtime/model_state.h"
#include "runtime/pooling.h"
#include "runtime/weights.h"

namespace quern::runtime {
namespace {

constexpr std::int64_t kMaxContext = std::numeric_limits<std::int32_t>::max();

/// Names the file in an error that a lower layer could not name.
template <class T>
Result<T> in_file(Result<T> result, const std::string& path) {
  if (!result.ok() && result.error().file.empty()) result.error().file = path;
  return result;
}

Status read_settings(Model::State& state) {
  const std::string& path = state.file.path();
  QUERN_TRY(document, formats::parse_json(state.file.config_json(), path));
  // Where the weights came from is for people; its keys are free and must not pass for canonical
  // ones.
  if (document.is_object()) document.erase("provenance");
  QUERN_TRY(config, formats::flatten_json(document, path));
  state.config = std::move(config);
  QUERN_TRY(generation, read_generation_defaults(state.file.generation_json(), path));
  state.generation = std::move(generation);
  const auto cache = state.file.section(formats::Section::kCache);
  if (cache.empty()) return {};
  QUERN_TRY(choice, formats::read_cache_choice(cache, path));
  state.kv = choice.kv;
  return {};
}

Status read_tokenizer(Model::State& state) {
  if (state.file.tokenizer().empty()) return {};
  QUERN_TRY(tokenizer, text::Tokenizer::open(state.file.tokenizer(), state.file.path()));
  state.vocab_size = static_cast<std::int64_t>(tokenizer.vocab_size());
  state.tokenizer.emplace(std::move(tokenizer));
  return {};
}

void collect_end_tokens(Model::State& state) {
  auto& ends = state.end_tokens;
  ends = state.generation.end_tokens;
  if (state.tokenizer) {
    ends.push_back(state.tokenizer->eos());
    ends.push_back(state.tokenizer->eot());
  }
  std::erase_if(ends, [](TokenId id) { return id < 0; });
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

/// What the checkpoint says about embeddings (sentence-transformers' modules), and token types.
Status read_encoder_defaults(Model::State& state) {
  const Config& config = state.config;
  QUERN_TRY(n_types, config.integer_or("n_types", 0));
  QUERN_TRY(max_tokens, config.integer_or("embedding.max_tokens", state.max_seq_len));
  QUERN_TRY(normalize, config.boolean_or("embedding.normalize", true));
  QUERN_TRY(poolings, read_poolings(config));
  state.n_types = n_types;
  state.max_text_tokens = std::clamp<std::int64_t>(max_tokens, 1, state.max_seq_len);
  state.embedding = {poolings.front(), normalize, {poolings.begin() + 1, poolings.end()}};
  return {};
}

/// Banned tokens that the model lacks.
void forget_unknown_tokens(runtime::GenerationDefaults& defaults, std::int64_t vocab_size) {
  std::erase_if(defaults.beams.banned, [&](TokenId id) { return id >= vocab_size; });
  std::erase_if(defaults.sampling.logit_bias,
                [&](const auto& bias) { return bias.first >= vocab_size; });
}

/// What a decoder's sequence begins with: its start token, and what must follow it.
Status read_decoder_start(Model::State& state) {
  std::int64_t start = state.generation.start_token;
  if (start < 0) {
    QUERN_TRY(said, state.config.integer_or("decoder_start_token_id", -1));
    start = said;
  }
  for (const std::int64_t id : {start, std::int64_t{state.generation.second_token}}) {
    if (id < 0) continue;
    if (id >= state.vocab_size)
      return Error(ErrorCode::kOutOfRange, "the decoder's first token lies outside the vocabulary")
          .of("decoder_start_token_id")
          .want("0 … " + std::to_string(state.vocab_size - 1))
          .got(std::to_string(id));
    state.decoder_start.push_back(static_cast<TokenId>(id));
  }
  return {};
}

/// CUDA, alone or with the processor, if there is a device and it can run the model's graphs.
Result<const backends::Backend*> cuda_for(Model::State& state) {
  QUERN_TRY(backend, backends::find_backend("cuda"));
  QUERN_CHECK(backend->available());
  if (state.options.gpu_layers >= 0) {
    QUERN_TRY(cpu, backends::find_backend("cpu"));
    state.split_backend =
        std::make_unique<backends::SplitBackend>(*cpu, *backend, state.options.gpu_layers);
    backend = state.split_backend.get();
  }
  backends::CompileOptions options;
  options.max_rows = options.max_positions = options.max_source = 1;
  options.executor = state.executor;
  for (const auto& graph :
       {state.graph, state.source_graph, state.row_layers, state.embedding_layers})
    if (graph != nullptr) QUERN_CHECK(backend->plan(*graph, options, {}));
  return backend;
}

Result<const backends::Backend*> choose_backend(Model::State& state) {
  const DeviceChoice device = state.options.device;
  if (device == DeviceChoice::kCpu || state.options.gpu_layers == 0)
    return backends::find_backend("cpu");
  auto cuda = cuda_for(state);
  if (cuda.ok() || device == DeviceChoice::kCuda) return cuda;
  base::log("dispatch", "the processor runs the model: " + cuda.error().describe());
  return backends::find_backend("cpu");
}

Status prepare_to_run(Model::State& state, const ExtraTensors& extra) {
  const std::string& path = state.file.path();
  QUERN_TRY(name, in_file(state.config.string("architecture"), path));
  const models::Architecture* architecture = models::find_architecture(name);
  if (architecture == nullptr)
    return Error(ErrorCode::kUnsupported, "the architecture is not known to this version")
        .in_file(path)
        .of("architecture")
        .got(name.substr(0, 64));
  QUERN_TRY(max_seq_len, in_file(state.config.integer("max_seq_len"), path));
  if (max_seq_len < 1 || max_seq_len > kMaxContext)
    return Error(ErrorCode::kOutOfRange, "the model's longest sequence is out of range")
        .in_file(path)
        .of("max_seq_len")
        .want("1 … " + std::to_string(kMaxContext))
        .got(std::to_string(max_seq_len));
  QUERN_TRY(graphs, in_file(build_graphs(*architecture, state.config, state.file, extra), path));
  state.max_seq_len = max_seq_len;
  state.vocab_size = graphs.graph.vocab_size;
  state.executor = state.options.executor;
  if (!state.executor) {
    QUERN_TRY(executor, make_executor(state.options.threads));
    state.executor = std::move(executor);
  }
  state.run_mutex = executor_lock(state.executor);
  forget_unknown_tokens(state.generation, state.vocab_size);
  state.graph = std::make_shared<const graph::Graph>(std::move(graphs.graph));
  for (auto [from, to] : {std::pair(&graphs.row_layers, &state.row_layers),
                          std::pair(&graphs.embedding_layers, &state.embedding_layers)}) {
    if (*from) *to = std::make_shared<const graph::Graph>(*std::move(*from));
  }
  if (graphs.source) {
    state.source_graph = std::make_shared<const graph::Graph>(std::move(*graphs.source));
    QUERN_CHECK(in_file(read_decoder_start(state), path));
    if (!state.generation.says_sampled) state.generation.sampling.temperature = 0.0F;
  }
  QUERN_TRY(backend, in_file(choose_backend(state), path));
  state.backend = backend;
  return in_file(read_encoder_defaults(state), path);
}

/// What runs the model, and why nothing better does.
void log_dispatch(const Model::State& state) {
  if (!base::logging() || state.backend == nullptr) return;
  for (const std::string& line : kernels::dispatch_log()) base::log("dispatch", line);
  base::log("dispatch", "the model runs on " + std::string(state.backend->isa()) + " with " +
                            std::to_string(state.executor->threads()) + " threads");
}

void log_opened(const Model::State& state, std::chrono::steady_clock::time_point start) {
  if (!base::logging()) return;
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  base::log("load", state.file.path() + ": " + std::to_string(state.file.tensors().size()) +
                        " tensors, " + std::to_string(state.weights_bytes) + " bytes of weights, " +
                        (state.graph ? "ready to run" : "vocabulary alone"));
  base::log("time", "building the model took " + std::to_string(spent.count()) + " ms");
}

}  // namespace

Result<std::shared_ptr<const Model::State>> build_model(formats::QuernFile file,
                                                        std::shared_ptr<const void> owner,
                                                        const ModelOptions& options,
                                                        const ExtraTensors& extra) {
  const auto start = std::chrono::steady_clock::now();
  auto state = std::make_shared<Model::State>(std::move(file));
  state->owner = std::move(owner);
  state->options = options;
  QUERN_CHECK(read_settings(*state));
  QUERN_CHECK(read_tokenizer(*state));
  for (const formats::TensorEntry& tensor : state->file.tensors())
    state->weights_bytes += tensor.data.size();  // Each lies in the file, apart from the others.
  if (!options.vocabulary_only && !state->file.tensors().empty())
    QUERN_CHECK(prepare_to_run(*state, extra));
  log_dispatch(*state);
  collect_end_tokens(*state);
  log_opened(*state, start);
  return std::shared_ptr<const Model::State>(std::move(state));
}

Result<std::shared_ptr<const Model::State>> rebuild_state(
    const std::shared_ptr<const Model::State>& base, std::shared_ptr<const void> owner,
    const ExtraTensors& extra) {
  QUERN_TRY(file, formats::QuernFile::from_bytes(base->file.bytes(), base->file.path()));
  ModelOptions options = base->options;
  options.executor = base->executor;
  auto both =
      std::make_shared<const std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(
          base, std::move(owner));
  return build_model(std::move(file), std::move(both), options, extra);
}

}  // namespace quern::runtime
