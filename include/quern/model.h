/// \file
/// A model: one `.quern` file, opened. Everything that does not depend on a conversation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/beam_search.h"
#include "quern/config.h"
#include "quern/encoding.h"
#include "quern/executor.h"
#include "quern/kv_type.h"
#include "quern/result.h"
#include "quern/sampling.h"

namespace quern {

/// Where a model runs. The results have the same bits everywhere.
enum class DeviceChoice : std::uint8_t {
  kCpu = 0,
  kCuda = 1,  ///< An error where the build, the machine or the model does not allow it.
  kAuto = 2,  ///< CUDA where it can run the model, else the processor.
};

struct ModelOptions {
  int threads = 0;                          ///< 0: usable_cores().
  std::shared_ptr<Executor> executor = {};  ///< Takes the place of `threads` where given.
  bool vocabulary_only = false;             ///< Tokenizer and template alone; sessions are refused.
  bool fast = false;  ///< Relaxes the numerics law (oneDNN); needs QUERN_WITH_ONEDNN.
  DeviceChoice device = DeviceChoice::kCpu;
  /// How many of the last layers the device has, the rest being the processor's; −1: all.
  int gpu_layers = -1;
};

/// One tensor as `inspect` shows it. `name` lives as long as the model.
struct TensorInfo {
  std::string_view name;
  Encoding encoding;
  Layout layout;
  std::vector<std::uint64_t> shape;  ///< Outermost first.
  std::uint64_t bytes, offset, checksum;
};

/// A rendered prompt: text, and which parts of it may hold control tokens (DESIGN: user text never
/// may).
struct Prompt {
  struct Span {
    std::size_t begin, end;
    bool trusted;
  };
  std::string text;
  std::vector<Span> spans;
};

struct TemplateOptions {
  std::string bos_token, eos_token;  ///< Empty: the model's own.
  std::string now;                   ///< ISO 8601 for strftime_now; empty: the clock.
};

struct EncodeOptions {
  bool add_special = true;    ///< BOS, EOS, CLS, SEP as the tokenizer does by default.
  bool parse_special = true;  ///< Control tokens in the text become their ids.
};

/// One text, or a pair of them, as an encoder reads it.
struct EncoderInput {
  std::vector<TokenId> ids;
  std::vector<std::int32_t> types;  ///< Token types (segments), one per id; empty: all 0.
};

/// How the rows of a text become one embedding.
enum class Pooling : std::int32_t {
  kMean = 0,
  kFirst = 1,
  kLast = 2,
  kMax = 3,
  kWeightedMean = 4,  ///< Row i of n counts i times, from 1 on.
  kMeanSqrt = 5,      ///< The sum over √n.
};

struct EmbeddingOptions {
  Pooling pooling = Pooling::kMean;
  bool normalize = true;  ///< Divided by its Euclidean length, in the end.
  /// Further poolings, whose columns follow those of the first.
  std::vector<Pooling> joined = {};
};

/// What a session would take, exact, before anything is allocated.
struct MemoryPlan {
  std::uint64_t weights_bytes = 0;  ///< The mapped file's tensor data.
  std::uint64_t kv_bytes = 0;       ///< All sequences, full context.
  std::uint64_t scratch_bytes = 0;  ///< Activations and per-thread scratch.
  /// Memory of the device that runs the model or its last layers: the weights that it uses, and its
  /// part of caches and scratch. 0: the processor does all.
  std::uint64_t device_bytes = 0;
};

struct SessionOptions {
  std::int64_t context = 0;  ///< Positions kept; 0: the model's max_seq_len, at most 8,192.
  /// Largest number of rows of one step (prefill chunk). Memory grows with it; from 256 rows on
  /// speed hardly does (SmolLM2: 1.5 % at 512).
  std::int64_t batch_rows = 256;
  /// Rows of a step whose logits are kept at once: by `step_all`, and by `generate` for its
  /// guesses.
  std::int64_t output_rows = 8;
  KvType kv = KvType::kAuto;
  /// Tokens of the longest source of an encoder–decoder; 0: the model's own limit, at most 8,192.
  std::int64_t max_source_tokens = 0;
  /// Events that `Session::trace` keeps of each thread; 0: no trace. Their memory is in no plan.
  std::int64_t trace_events = 0;
};

/// Outcome of `Model::verify`.
struct VerifyReport {
  std::uint64_t tensors_checked = 0, bytes_checked = 0;
  std::uint64_t strings_checked = 0, templates_checked = 0, logits_checked = 0;
  std::uint64_t weights_hash = 0;
  std::string logits_skipped;         ///< Why the file's logits were not compared, or nothing.
  std::vector<std::string> problems;  ///< Empty: all is well. One sentence each.
};

struct AdapterUse;  // quern/adapter.h

/// Called with (done, total) in bytes or steps; returning false cancels (kCancelled).
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// Immutable and shared: copies are cheap handles. Thread rule: any thread.
class Model {
 public:
  /// Maps a `.quern` file. No work in proportion to its size. Foreign files: convert/convert.h.
  static Result<Model> open(const std::string& path, const ModelOptions& options = {});
  /// The same from memory; `owner` keeps `bytes` alive.
  static Result<Model> from_memory(std::shared_ptr<const void> owner,
                                   std::span<const std::byte> bytes, const std::string& name,
                                   const ModelOptions& options = {});

  const std::string& path() const noexcept;
  const Config& config() const noexcept;          ///< Canonical keys (DESIGN.md section 8).
  std::string_view config_json() const noexcept;  ///< Configuration and provenance as stored.
  std::string_view generation_json() const noexcept;
  std::string_view chat_template() const noexcept;  ///< Empty: none.
  std::vector<TensorInfo> tensors() const;
  std::uint64_t file_bytes() const noexcept;
  std::uint64_t weights_hash() const noexcept;
  std::string_view isa() const noexcept;
  int threads() const noexcept;
  std::int64_t vocab_size() const noexcept;
  /// Ids that a source may hold; vocab_size() where the model is no encoder–decoder.
  std::int64_t source_vocab_size() const noexcept;
  std::int64_t max_seq_len() const noexcept;
  bool has_tokenizer() const noexcept;
  bool can_run() const noexcept;     ///< Whether it has weights (not a vocabulary alone).
  bool is_encoder() const noexcept;  ///< Runs in an Encoder; every other model in a Session.
  /// Answers a source (a text to translate, to summarize …): Session::read_source.
  bool is_encoder_decoder() const noexcept;
  /// What a decoder's sequence begins with, e.g. its start token and that of a language; empty for
  /// other models, and where the checkpoint does not say.
  std::span<const TokenId> decoder_start() const noexcept;

  /// Human-readable list of the graph's nodes with shapes.
  Result<std::string> graph_text() const;
  /// Text to tokens, and back. Errors of `decode`: kOutOfRange for an id outside the vocabulary.
  Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& = {}) const;
  Result<std::vector<TokenId>> encode(const Prompt& prompt) const;
  Result<std::string> decode(std::span<const TokenId> ids, bool skip_special = true) const;
  /// A text as an encoder reads it, cut at its end to `max_tokens` (0: not) with its special tokens
  /// kept.
  Result<EncoderInput> encode_text(std::string_view text, std::int64_t max_tokens = 0) const;
  /// A pair of texts (question and passage), by the tokenizer's own template; the longer one is
  /// cut.
  Result<EncoderInput> encode_pair(std::string_view a, std::string_view b,
                                   std::int64_t max_tokens = 0) const;
  /// The checkpoint's own pooling, else mean and length one. Layers that the checkpoint puts before
  /// or behind the pooling are part of every embedding.
  EmbeddingOptions default_embedding() const;
  /// Tokens of the longest text that the model was made for; 0: a vocabulary alone.
  std::int64_t max_text_tokens() const noexcept;
  TokenId bos() const noexcept;  ///< −1: none.
  TokenId eos() const noexcept;
  bool is_end_token(TokenId id) const noexcept;  ///< Any token that ends a reply.
  bool is_special(TokenId id) const noexcept;

  /// Renders the model's chat template. `conversation_json`: object with `messages`, optional
  /// `tools`, `documents`, `add_generation_prompt` and further variables.
  Result<Prompt> render(std::string_view conversation_json, const TemplateOptions& = {}) const;

  Result<MemoryPlan> plan(const SessionOptions& options, int sequences = 1) const;

  /// Every checksum, then the embedded self-test (strings → ids, template, logits).
  Result<VerifyReport> verify(const Progress& progress = {}) const;

  /// Defaults of generation_config.json, over SamplingOptions' own; an encoder–decoder is greedy
  /// unless it says otherwise.
  SamplingOptions default_sampling() const;
  /// The same for beam search: `beams` is 1 where the file asks for none.
  BeamOptions default_beams() const;

  struct State;
  const State& state() const noexcept { return *state_; }

 private:
  friend class Encoder;
  friend class Session;
  friend Result<Model> with_adapters(const Model& model, std::span<const AdapterUse> adapters);
  explicit Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Renders a template that belongs to no model.
Result<Prompt> render_template(std::string_view source, std::string_view conversation_json,
                               const TemplateOptions& options = {});

}  // namespace quern
