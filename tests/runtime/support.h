/// \file
/// What the runtime's tests share: reference models opened through the converter, and their
/// tensors.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "formats/safetensors_reader.h"
#include "quern/session.h"

namespace quern::test {

/// The folder of a golden model; nullopt where the goldens are absent (a failure where CI is set).
std::optional<std::string> golden_model(const std::string& name);
/// The trained decoder with its tokenizer and template.
std::optional<std::string> handbook_model();
/// The folders of all goldens of these kinds ("decoder", "encoder", …) whose class this version
/// runs, sorted.
std::vector<std::string> goldens_of(const std::set<std::string>& kinds);
/// The goldens that this version runs.
std::vector<std::string> golden_names();

/// Opens a checkpoint, once per (path, threads). Fails the test where that does not work.
const Model& opened(const std::string& path, int threads = 1);
Session new_session(const Model& model, const SessionOptions& options = {});

/// An int64 tensor of a model's golden.safetensors as ids.
std::vector<TokenId> golden_ids(const std::string& directory, const std::string& tensor);
std::vector<float> golden_floats(const std::string& directory, const std::string& tensor);

/// All logits of `ids`, given in steps of `chunk` rows.
std::vector<float> all_logits(const Model& model, std::span<const TokenId> ids, std::int64_t chunk,
                              KvType kv = KvType::kAuto);
/// The code and field of an error; no code and "(it went well)" where there is none.
template <class T>
std::optional<ErrorCode> code_of(const Result<T>& result) {
  return result.ok() ? std::nullopt : std::optional(result.error().code);
}
template <class T>
std::string field_of(const Result<T>& result) {
  return result.ok() ? "(it went well)" : result.error().field;
}
bool same_bits(std::span<const float> a, std::span<const float> b);

}  // namespace quern::test
