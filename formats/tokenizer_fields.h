/// \file
/// Typed access to one JSON object of tokenizer.json, with errors that name the path to the field.
/// Private to the tokenizer_*.cpp files of this folder.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::formats {

/// A view of an object and of where it stands. Thread rule: as the Json.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string path, std::string_view file)
      : object_(&object), path_(std::move(path)), file_(file) {}

  const std::string& path() const noexcept { return path_; }
  std::string_view file() const noexcept { return file_; }
  const Json& json() const noexcept { return *object_; }

  /// \return the value, or nullptr where it is absent or null.
  const Json* find(const char* key) const;
  Result<std::string> text(const char* key) const;
  Result<std::string> text_or(const char* key, std::string fallback) const;
  Result<bool> flag_or(const char* key, bool fallback) const;
  Result<bool> flag(const char* key) const;
  /// An integer in [0, 2^31).
  Result<std::uint32_t> number(const char* key) const;
  Result<std::uint32_t> number_or(const char* key, std::uint32_t fallback) const;
  /// An object as fields of its own.
  Result<JsonFields> object(const char* key) const;
  JsonFields child(const Json& value, const std::string& name) const {
    return JsonFields(value, path_.empty() ? name : path_ + "." + name, file_);
  }
  Error error(ErrorCode code, const char* key, std::string message) const;

 private:
  const Json* object_;
  std::string path_;
  std::string_view file_;
};

/// One component name and its reader, which appends to the stage.
struct TokenizerComponent {
  const char* name;
  Status (*read)(const JsonFields& fields, std::vector<TokenizerStep>& out);
};

/// Reads a component or a (nested) Sequence of them, whose members stand under `list_key`.
/// Errors: kUnsupported naming the type that is not in `table`.
Status read_tokenizer_stage(const JsonFields& fields, std::span<const TokenizerComponent> table,
                            const char* list_key, std::vector<TokenizerStep>& out);

/// `{"String": …}` or `{"Regex": …}`: sets kind and text of the step.
Status read_tokenizer_pattern(const JsonFields& fields, StepKind literal, StepKind regex,
                              TokenizerStep& step);
/// The `behavior` of a Split or Punctuation.
Result<SplitBehavior> read_split_behavior(const JsonFields& fields, const char* fallback);
/// `replacement`, `prepend_scheme` (and the older `add_prefix_space`) of a Metaspace.
Result<TokenizerStep> read_metaspace(const JsonFields& fields, StepKind kind);

// The stages.
Status read_normalizer(const JsonFields& fields, std::vector<TokenizerStep>& out);
Status read_pre_tokenizer(const JsonFields& fields, std::vector<TokenizerStep>& out);
Status read_decoder(const JsonFields& fields, std::vector<TokenizerStep>& out);
/// Wraps `post_template` as the post-processor says.
Status read_post_processor(const JsonFields& fields, std::vector<std::int32_t>& post_template);
Status read_tokenizer_model(const JsonFields& fields, TokenizerSpec& spec);

}  // namespace quern::formats
