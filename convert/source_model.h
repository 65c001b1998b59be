/// \file
/// A checkpoint of any readable kind behind one interface. One adapter per kind; none of them
/// touches weight bytes when it opens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "formats/tokenizer_spec.h"
#include "models/architecture.h"
#include "quern/config.h"
#include "quern/encoding.h"
#include "quern/result.h"

namespace quern::convert {

/// One tensor as the source holds it. Views into the source.
struct SourceTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  ///< Outermost first.
  std::string type_name;             ///< The source's word for its type, e.g. "Q4_1".
  std::optional<Encoding> encoding;  ///< None: a type that quern cannot read.
  Layout layout = Layout::kPlain;    ///< kPlain: rows one after the other in the foreign form.
  std::span<const std::byte> data;
  /// Not empty: MXFP4 in two streams (mxfp4_streams.h), of which `data` holds the codes.
  std::span<const std::byte> scales;

  std::uint64_t bytes() const noexcept { return data.size() + scales.size(); }
};

/// How a source names its tensors.
enum class Naming : std::uint8_t { kHuggingFace, kGguf, kCanonical };

/// Thread rule: immutable after it was opened.
class SourceModel {
 public:
  virtual ~SourceModel() = default;

  /// "gguf", "safetensors", "quern" or "tokenizer".
  virtual std::string_view kind() const noexcept = 0;
  virtual Naming naming() const noexcept = 0;
  /// All tensors, sorted by name.
  std::span<const SourceTensor> tensors() const noexcept { return tensors_; }
  /// \return nullptr where there is none.
  const SourceTensor* find(std::string_view name) const noexcept;
  /// Says that a tensor's pages are not needed soon.
  virtual void release(const SourceTensor& tensor) const noexcept = 0;

  const std::string& path() const noexcept { return path_; }
  /// Files whose bytes are read; none may be the output.
  const std::vector<std::string>& files() const noexcept { return files_; }
  /// Null for a vocabulary alone.
  const models::Architecture* architecture() const noexcept { return architecture_; }
  /// Canonical; empty for a vocabulary alone.
  const Config& config() const noexcept { return config_; }
  /// generation_config.json's keys; null where there are none.
  const formats::Json& generation() const noexcept { return generation_; }
  const std::string& chat_template() const noexcept { return chat_template_; }
  /// What the source says about itself (name, licence, …) beyond `config`; an object.
  const formats::Json& metadata() const noexcept { return metadata_; }
  /// JSON of the quality report that the file brings; empty where it has none.
  const std::string& quality_report() const noexcept { return quality_report_; }
  /// What the person should know, one sentence each.
  const std::vector<std::string>& notes() const noexcept { return notes_; }

  virtual bool has_tokenizer() const noexcept = 0;
  /// The ready tokenizer of a container; empty where there is none. \pre has_tokenizer()
  virtual Result<std::vector<std::byte>> tokenizer_image() const = 0;
  /// The tokenizer as a pipeline. \pre has_tokenizer()
  virtual Result<formats::TokenizerSpec> tokenizer_spec() const = 0;

 protected:
  void set_tensors(std::vector<SourceTensor> tensors);

  std::string path_;
  std::vector<std::string> files_;
  const models::Architecture* architecture_ = nullptr;
  Config config_;
  formats::Json generation_;
  std::string chat_template_;
  formats::Json metadata_ = formats::Json::object();
  std::string quality_report_;
  std::vector<std::string> notes_;

 private:
  std::vector<SourceTensor> tensors_;
};

using SourcePointer = std::unique_ptr<SourceModel>;

// The adapters. Errors: those of the reader; kUnsupported naming an unknown architecture and
// listing the known ones.
Result<SourcePointer> open_gguf_source(const std::string& path, bool vocabulary_only);
/// \param path a directory, or one `.safetensors` file with config.json beside it.
Result<SourcePointer> open_huggingface_source(const std::string& path, bool vocabulary_only);
Result<SourcePointer> open_quern_source(const std::string& path);
/// A lone tokenizer.json.
Result<SourcePointer> open_tokenizer_source(const std::string& path);

/// What a path holds, told by its content.
enum class SourceFormat : std::uint8_t { kQuern, kGguf, kSafetensors, kDirectory, kTokenizerJson };

/// Errors: kIo, kTruncated, kUnsupported (a pickle or another foreign format, by name).
Result<SourceFormat> sniff_source(const std::string& path);

/// Opens any of them. \param vocabulary_only a source without weights will do.
Result<SourcePointer> open_source(const std::string& path, bool vocabulary_only = false);

/// kUnsupported, with the list of what is known.
Error unknown_architecture(const std::string& file, std::string_view found);

}  // namespace quern::convert
