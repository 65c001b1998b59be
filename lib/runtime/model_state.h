/// \file
/// What every handle of a model shares. Immutable once built, apart from the cached template.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "formats/quern_file.h"
#include "graph/graph.h"
#include "quern/model.h"
#include "runtime/generation_defaults.h"
#include "text/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

/// Thread rule: any thread; `run_mutex` is held during a step, `template_mutex` while the template
/// is parsed for the first time.
struct Model::State {
  explicit State(formats::QuernFile opened) : file(std::move(opened)) {}

  std::shared_ptr<const void> owner;  ///< Keeps the bytes of `from_memory` alive.
  formats::QuernFile file;
  ModelOptions options;
  Config config;
  runtime::GenerationDefaults generation;
  KvType kv = KvType::kAuto;  ///< What the file says of its cache; kAuto: nothing.
  std::optional<text::Tokenizer> tokenizer;
  std::vector<TokenId> end_tokens;  ///< Ascending.
  std::int64_t vocab_size = 0;
  std::int64_t max_seq_len = 0;
  std::int64_t n_types = 0;          ///< Token types; 0: the model knows none.
  std::int64_t max_text_tokens = 0;  ///< Longest text of an encoder.
  EmbeddingOptions embedding;

  /// Whether the graph is an encoder's: no state, hidden states as its output.
  bool is_encoder() const noexcept;

  std::vector<TokenId> decoder_start;  ///< Of an encoder–decoder.

  // Absent where the file holds a vocabulary alone.
  std::shared_ptr<const graph::Graph> graph;
  std::shared_ptr<const graph::Graph> source_graph;  ///< Of an encoder–decoder alone.
  /// Layers between an encoder's rows and the pooling, and between the pooling and the embedding;
  /// nullptr: none.
  std::shared_ptr<const graph::Graph> row_layers, embedding_layers;
  const backends::Backend* backend = nullptr;
  std::unique_ptr<const backends::Backend> split_backend;  ///< Where `backend` is the model's own.
  std::shared_ptr<Executor> executor;
  std::shared_ptr<std::mutex> run_mutex;
  std::uint64_t weights_bytes = 0;

  mutable std::mutex template_mutex;
  mutable std::shared_ptr<const text::ChatTemplate> parsed_template;
};

}  // namespace quern
