/// \file
/// A reference checkpoint as graph and program, without converter or runtime: the shortest way from
/// safetensors to logits, for judging architectures and backend alone.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "formats/safetensors_reader.h"
#include "models/architecture.h"

namespace quern::test {

/// Owns the panels that the graph's weights point into.
class GoldenModel {
 public:
  /// \param config_file "config.json" or "config_v4.json". \param encoding kKeep: as stored; else
  /// matrices are quantized to it.
  static Result<GoldenModel> load(const std::string& directory, const std::string& config_file,
                                  Encoding encoding = kKeep);
  static constexpr Encoding kKeep = static_cast<Encoding>(0xFFFF);

  const Config& config() const noexcept { return config_; }
  std::shared_ptr<const graph::Graph> graph() const noexcept { return graph_; }
  /// Of an encoder–decoder, that of its source; nullptr: none.
  std::shared_ptr<const graph::Graph> source_graph() const noexcept { return source_graph_; }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  using Storage = std::vector<Line>;

  Result<quant::TensorView> load_tensor(const formats::SafetensorsFile& file,
                                        const models::ExpectedTensor& expected, Encoding encoding);

  Config config_;
  std::unique_ptr<std::deque<Storage>> storage_ = std::make_unique<std::deque<Storage>>();
  std::shared_ptr<const graph::Graph> graph_, source_graph_;
};

/// A program with one sequence, stepped in chunks.
class Runner {
 public:
  struct Options {
    int threads = 1;
    std::int64_t max_rows = 64;
    std::int64_t capacity = 256;
    KvType kv = KvType::kAuto;
    std::string backend = "cpu";
  };
  static Result<Runner> create(const GoldenModel& model, const Options& options);
  /// On a backend that no registry knows.
  static Result<Runner> create(const GoldenModel& model, const Options& options,
                               const backends::Backend& backend);

  /// Appends ids in steps of `chunk` rows; \return logits of all of them, `[n, vocab]`.
  Result<std::vector<float>> step(const std::vector<std::int32_t>& ids, std::int64_t chunk);

 private:
  std::unique_ptr<backends::Program> program_;
  std::unique_ptr<backends::SequenceState> state_;
  std::int64_t position_ = 0;
};

/// The names of the goldens whose class is in the registry and whose kind is "decoder".
std::vector<std::string> goldens(const std::set<std::string>& kinds);

/// A golden's int64 tensor as ids, or float32 tensor.
std::vector<std::int32_t> golden_ids(const formats::SafetensorsFile& file, const std::string& name);
std::vector<float> golden_floats(const formats::SafetensorsFile& file, const std::string& name);

}  // namespace quern::test
