/// \file
/// What the converter's tests share: a folder that goes away, goldens, a made-up GGUF model.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/convert.h"
#include "formats/gguf_writer.h"
#include "formats/quern_file.h"
#include "formats/quern_writer.h"
#include "formats/safetensors_reader.h"
#include "quant/registry.h"
#include "quern/encoding.h"
#include "quern/model.h"
#include "quern/result.h"
#include "support/must.h"

namespace quern::convert::test {

using quern::testing::must;

/// An empty folder, removed with its contents.
class TempFolder {
 public:
  TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  /// Names of everything in it, sorted.
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

/// Finishes a container of the file's tensors, the one named `zeroed` all zeros.
void write_tensors_of(const formats::QuernFile& file, formats::QuernWriter& writer,
                      std::string_view zeroed = {});

/// The path of a golden model; nullopt where the goldens are absent (an error where CI is set).
std::optional<std::string> golden(const std::string& name);
/// The architectures that this version converts.
std::vector<std::string> golden_names();

/// The path of something in tests/convert/fixtures.
std::string fixture(const std::string& name);

/// The numbers of a tensor, which the file holds as `Stored`; without it the test ends.
template <class Stored, class T = Stored>
std::vector<T> values_of(const formats::SafetensorsFile& file, const std::string& name) {
  std::vector<T> values;
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  for (std::size_t at = 0; at < tensor->data.size(); at += sizeof(Stored)) {
    Stored value;
    std::memcpy(&value, tensor->data.data() + at, sizeof value);
    values.push_back(static_cast<T>(value));
  }
  return values;
}

/// The logits of every token, `[ids, vocab_size]`.
std::vector<float> logits_of(const Model& model, const std::vector<TokenId>& ids);
/// \pre both are as long. Infinite or NaN counts as what it is.
double largest_difference(const std::vector<float>& a, const std::vector<float>& b);

/// A golden model that can read: a copy in `folder`, with a tokenizer of bytes.
std::optional<std::string> reading_golden(const TempFolder& folder, const std::string& name);
/// Words in an order of chance, from a fixed seed.
std::string some_text(std::size_t bytes);

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, const std::string& bytes);

/// Floats that look like weights, from a fixed seed.
std::vector<float> weights(std::size_t n, std::uint32_t seed);

/// A Llama with 1 layer, dim 256, 4 heads and 2 KV heads of 64, ffn 512, 80 tokens.
struct ToyModel {
  Encoding encoding = Encoding::kF32;  ///< Of the matrices.
  bool random_bits = false;            ///< Any bytes instead of encoded weights.
  std::string architecture = "llama";
  std::int64_t vocab = 80;
  std::vector<std::string> extra{};  ///< Further vectors of 256, which no Llama has.
  bool untied = false;  ///< With an output matrix of its own, as large as the embedding.
  /// Leaves out or changes a tensor: sees its name and dims (row length first), false drops it.
  std::function<bool(const std::string& name, std::vector<std::uint64_t>& ne)> edit{};
  /// Changes a tensor's bytes.
  std::function<void(const std::string& name, std::string& bytes)> patch{};
};

/// Writes it as GGUF.
void write_toy_gguf(const std::string& path, const ToyModel& model = {});

/// `rows` rows of `cols` floats → rows in the foreign form of `encoding`.
std::string encode_rows(Encoding encoding, const std::vector<float>& values, std::int64_t cols);

/// Conversion without a self-test.
ConvertOptions plain_options(const std::string& encoding = "keep", int threads = 1);

}  // namespace quern::convert::test
