#include "fixtures.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>

#include "formats/byte_reader.h"
#include "formats/json.h"
#include "formats/json_value.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace fs = std::filesystem;

TempFolder::TempFolder() {
  static std::atomic<int> count{0};
  path_ = fs::temp_directory_path() /
          ("quern-convert-" + std::to_string(getpid()) + "-" + std::to_string(count++));
  fs::create_directories(path_);
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> TempFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void write_tensors_of(const formats::QuernFile& file, formats::QuernWriter& writer,
                      std::string_view zeroed) {
  for (const auto& tensor : file.tensors()) {
    REQUIRE(writer
                .declare_tensor(tensor.name, tensor.encoding, tensor.layout,
                                {tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims)})
                .ok());
  }
  REQUIRE(writer.begin().ok());
  for (const auto& tensor : file.tensors()) {
    const std::vector<std::byte> zeros(tensor.data.size());
    const std::span<const std::byte> none = zeros;
    REQUIRE(writer.write(tensor.name == zeroed ? none : tensor.data).ok());
  }
  REQUIRE(writer.finish().ok());
}

std::optional<std::string> golden(const std::string& name) {
  const fs::path path = fs::path(QUERN_GOLDENS_DIR) / "models" / name;
  if (fs::exists(path / "config.json")) return path.string();
  if (std::getenv("CI") != nullptr) {
    FAIL_CHECK("the goldens are absent: " << path.string());
  } else {
    MESSAGE("the goldens are absent: " << path.string());
  }
  return std::nullopt;
}

std::vector<std::string> golden_names() {
  return {"llama2", "llama3", "smollm2", "mistral", "qwen2", "qwen3", "gemma3_text"};
}

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::vector<float> weights(std::size_t n, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(n);
  for (auto& value : values) {
    value = (static_cast<float>(generator() >> 8) / 8388608.0F - 1.0F) * 0.1F;
  }
  return values;
}

std::string encode_rows(Encoding encoding, const std::vector<float>& values, std::int64_t cols) {
  const quant::EncodingOps& ops = *quant::find_ops(encoding);
  const auto rows = static_cast<std::int64_t>(values.size()) / cols;
  const auto row_bytes = ops.foreign_row_bytes(cols);
  std::string out(static_cast<std::size_t>(rows) * row_bytes, '\0');
  std::vector<std::byte> panel(
      panel_bytes(*find_encoding(encoding), static_cast<std::uint64_t>(cols)).value());
  for (std::int64_t first = 0; first < rows; first += 16) {
    std::vector<float> rows16(static_cast<std::size_t>(16 * cols));
    std::byte* to[16] = {};
    for (std::int64_t r = 0; r < 16 && first + r < rows; ++r) {
      std::copy_n(values.begin() + (first + r) * cols, cols, rows16.begin() + r * cols);
      to[r] = reinterpret_cast<std::byte*>(out.data()) +
              static_cast<std::uint64_t>(first + r) * row_bytes;
    }
    ops.quantize_panel(rows16.data(), cols, {}, panel.data());
    ops.deinterleave_panel(panel.data(), cols, to);
  }
  return out;
}

namespace {

struct ToyTensor {
  std::string name;
  std::vector<std::uint64_t> ne;
};

std::vector<ToyTensor> toy_tensors(const ToyModel& model) {
  const auto vocab = static_cast<std::uint64_t>(model.vocab);
  std::vector<ToyTensor> tensors{
      {"token_embd.weight", {256, vocab}}, {"blk.0.attn_norm.weight", {256}},
      {"blk.0.attn_q.weight", {256, 256}}, {"blk.0.attn_k.weight", {256, 128}},
      {"blk.0.attn_v.weight", {256, 128}}, {"blk.0.attn_output.weight", {256, 256}},
      {"blk.0.ffn_norm.weight", {256}},    {"blk.0.ffn_gate.weight", {256, 512}},
      {"blk.0.ffn_up.weight", {256, 512}}, {"blk.0.ffn_down.weight", {512, 256}},
      {"output_norm.weight", {256}}};
  if (model.untied) tensors.push_back({"output.weight", {256, vocab}});
  for (const std::string& name : model.extra) tensors.push_back({name, {256}});
  return tensors;
}

std::string toy_bytes(const ToyModel& model, const std::vector<std::uint64_t>& ne,
                      Encoding encoding, std::uint32_t seed) {
  std::uint64_t count = 1;
  for (const auto n : ne) count *= n;
  const auto cols = static_cast<std::int64_t>(ne.front());
  if (!model.random_bits || ne.size() == 1)
    return encode_rows(encoding, weights(count, seed), cols);
  std::string bytes(count / ne.front() * quant::find_ops(encoding)->foreign_row_bytes(cols), '\0');
  std::mt19937 generator(seed);
  for (char& c : bytes) c = static_cast<char>(generator() >> 24);
  return bytes;
}

/// A tokenizer.json of the 256 bytes, as GPT-2 spells them.
std::string byte_tokenizer() {
  formats::Json vocab = formats::Json::object();
  int spare = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : spare++;
    std::string symbol;
    if (code < 128) {
      symbol += static_cast<char>(code);
    } else {
      symbol += static_cast<char>(0xC0 | (code >> 6));
      symbol += static_cast<char>(0x80 | (code & 63));
    }
    vocab[symbol] = byte;
  }
  const formats::Json byte_level = {{"type", "ByteLevel"},
                                    {"add_prefix_space", false},
                                    {"trim_offsets", true},
                                    {"use_regex", true}};
  formats::Json tokenizer = {{"version", "1.0"},          {"added_tokens", formats::Json::array()},
                             {"normalizer", nullptr},     {"pre_tokenizer", byte_level},
                             {"post_processor", nullptr}, {"decoder", byte_level}};
  tokenizer["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", formats::Json::array()}};
  return formats::dump_json(tokenizer, 0);
}

}  // namespace

void write_toy_gguf(const std::string& path, const ToyModel& model) {
  auto writer = formats::GgufWriter::create(path);
  REQUIRE(writer.ok());
  REQUIRE(writer->add_string("general.architecture", model.architecture).ok());
  REQUIRE(writer->add_string("general.name", "a toy").ok());
  REQUIRE(writer->add_string("general.license", "apache-2.0").ok());
  const std::vector<std::string_view> languages{"en", "fr"};
  REQUIRE(writer->add_strings("general.languages", languages).ok());
  const std::pair<const char*, std::uint32_t> numbers[] = {
      {"llama.block_count", 1},          {"llama.context_length", 64},
      {"llama.embedding_length", 256},   {"llama.feed_forward_length", 512},
      {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2},
      {"llama.rope.dimension_count", 64}};
  for (const auto& [key, value] : numbers) REQUIRE(writer->add_unsigned(key, value).ok());
  REQUIRE(writer->add_float("llama.attention.layer_norm_rms_epsilon", 1e-5).ok());

  std::vector<std::string> contents;
  std::uint32_t seed = 1;
  for (ToyTensor& tensor : toy_tensors(model)) {
    if (model.edit && !model.edit(tensor.name, tensor.ne)) continue;
    const Encoding encoding = tensor.ne.size() == 1 ? Encoding::kF32 : model.encoding;
    contents.push_back(toy_bytes(model, tensor.ne, encoding, seed++));
    if (model.patch) model.patch(tensor.name, contents.back());
    REQUIRE(writer->declare_tensor(tensor.name, tensor.ne, *formats::ggml_type_of(encoding)).ok());
  }
  REQUIRE(writer->begin().ok());
  for (const std::string& bytes : contents) {
    REQUIRE(writer->write(formats::as_bytes(bytes)).ok());
  }
  REQUIRE(writer->finish().ok());
}

ConvertOptions plain_options(const std::string& encoding, int threads) {
  ConvertOptions options;
  options.encoding = encoding;
  options.self_test = false;
  options.threads = threads;
  return options;
}

std::string fixture(const std::string& name) {
  return std::string(QUERN_SOURCE_DIR) + "/tests/convert/fixtures/" + name;
}

std::vector<float> logits_of(const Model& model, const std::vector<TokenId>& ids) {
  Session session = must(Session::create(model));
  std::vector<float> logits;
  const Status done =
      session.step_all(ids, [&](std::int64_t, std::span<const float> rows) -> Status {
        logits.insert(logits.end(), rows.begin(), rows.end());
        return {};
      });
  REQUIRE(done.ok());
  return logits;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = d <= worst ? worst : d;  // NaN counts.
  }
  return worst;
}

std::optional<std::string> reading_golden(const TempFolder& folder, const std::string& name) {
  const auto source = golden(name);
  if (!source) return std::nullopt;
  const std::string copy = folder.file(name);
  std::filesystem::create_directory(copy);
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(*source + "/" + file, copy + "/" + file);
  }
  write_bytes(copy + "/tokenizer.json", byte_tokenizer());
  return copy;
}

std::string some_text(std::size_t bytes) {
  static constexpr const char* kWords[] = {"the ", "mill ",  "grinds ", "grain, ", "slowly ",
                                           "and ", "every ", "stone ",  "turns.\n"};
  std::string text;
  std::mt19937 random(7);
  while (text.size() < bytes) text += kWords[random() % std::size(kWords)];
  return text;
}

}  // namespace quern::convert::test
