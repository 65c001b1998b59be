// Adapters: PEFT's and BitFit's goldens beside their bases, GGUF's form of them, and what is
// refused.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/gguf_writer.h"
#include "formats/json.h"
#include "formats/json_value.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-4;  // Of the logits' standard deviation.

struct GoldenAdapter {
  const char *name, *base, *file;  ///< `file`: in the golden's folder; empty: the folder itself.
};
constexpr GoldenAdapter kAdapters[] = {{"llama3_lora", "llama3", ""},
                                       {"mistral_lora", "mistral", ""},
                                       {"qwen2_lora_rs", "qwen2", ""},
                                       {"gpt2_lora", "gpt2", ""},
                                       {"gpt2_bitfit", "gpt2", "/bitfit.safetensors"}};

std::vector<TokenId> ids_of(const formats::SafetensorsFile& file, const char* name) {
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<TokenId> ids;
  for (std::size_t at = 0; at < tensor->data.size(); at += 8) {
    std::int64_t id = 0;
    std::memcpy(&id, tensor->data.data() + at, 8);
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

std::vector<float> floats_of(const formats::SafetensorsFile& file, const char* name) {
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<float> values(tensor->data.size() / 4);
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

/// The folder of a golden adapter, beside that of its base; nullopt where the goldens are absent.
std::optional<std::string> adapter_folder(const std::string& name, const std::string& base) {
  const auto folder = golden(base);
  if (!folder) return std::nullopt;
  return folder->substr(0, folder->size() - base.size()) + name;
}

/// A golden adapter opened beside its base.
struct Opened {
  Model base, model;
  formats::SafetensorsFile golden;
  double output_std;
};

std::optional<Opened> open_golden(const GoldenAdapter& about) {
  const auto folder = adapter_folder(about.name, about.base);
  if (!folder) return std::nullopt;
  const Model base = must(open_any(*golden(about.base)));
  const Adapter adapter = must(open_adapter(*folder + about.file, base));
  const Model model = must(with_adapters(base, std::array{AdapterUse{adapter}}));
  const auto description = must(formats::read_json_file(*folder + "/golden.json"));
  return Opened{base, model, must(formats::SafetensorsFile::open(*folder + "/golden.safetensors")),
                description["output_std"].number()};
}

/// The llama3 adapter as llama.cpp would have it: rows of B for the queries and keys in pairs.
void write_gguf_adapter(const std::string& path, float alpha) {
  const auto folder = *adapter_folder("llama3_lora", "llama3");
  const auto peft = must(formats::SafetensorsFile::open(folder + "/adapter_model.safetensors"));
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"}, {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},  {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  auto writer = must(formats::GgufWriter::create(path));
  REQUIRE(writer.add_string("general.type", "adapter").ok());
  REQUIRE(writer.add_string("general.architecture", "llama").ok());
  REQUIRE(writer.add_string("adapter.type", "lora").ok());
  REQUIRE(writer.add_float("adapter.lora.alpha", static_cast<double>(alpha)).ok());
  std::vector<std::string> bytes;
  for (const formats::SafeTensor& tensor : peft.tensors()) {
    const std::string& name = tensor.name;
    const std::size_t layer = name.find("layers.") + 7;
    const std::string number = name.substr(layer, name.find('.', layer) - layer);
    for (const auto& pair : kNames) {
      if (name.find(std::string(pair.first) + ".lora_") == std::string::npos) continue;
      const bool is_b = name.find("lora_B") != std::string::npos;
      const std::string half = is_b ? ".weight.lora_b" : ".weight.lora_a";
      const std::uint64_t rows = tensor.shape[0], cols = tensor.shape[1];
      REQUIRE(writer
                  .declare_tensor("blk." + number + "." + pair.second + half,
                                  std::array{cols, rows}, *formats::ggml_type_of(Encoding::kF32))
                  .ok());
      std::string data(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
      const std::string kind = pair.second;
      if (is_b && (kind == "attn_q" || kind == "attn_k")) {
        // Row j·half + i of a head stands at 2i + j.
        const std::size_t dim = 16, half_dim = dim / 2, row_bytes = cols * 4;
        const std::string old = data;
        for (std::size_t r = 0; r < rows; ++r) {
          const std::size_t head = r / dim * dim, in = r % dim;
          const std::size_t to = head + 2 * (in % half_dim) + in / half_dim;
          data.replace(to * row_bytes, row_bytes, old, r * row_bytes, row_bytes);
        }
      }
      bytes.push_back(data);
    }
  }
  REQUIRE(writer.begin().ok());
  for (const std::string& data : bytes) {
    REQUIRE(writer.write(std::as_bytes(std::span(data))).ok());
  }
  REQUIRE(writer.finish().ok());
}

}  // namespace

TEST_CASE("every golden adapter gives PEFT's logits beside its base, which stays what it was") {
  for (const GoldenAdapter& about : kAdapters) {
    CAPTURE(about.name);
    const auto opened = open_golden(about);
    if (!opened) return;
    const std::vector<TokenId> ids = ids_of(opened->golden, "input_ids");
    const double bound = kTolerance * opened->output_std;
    CHECK(largest_difference(logits_of(opened->model, ids), floats_of(opened->golden, "logits")) <=
          bound);
    CHECK(largest_difference(logits_of(opened->base, ids),
                             floats_of(opened->golden, "base_logits")) <= bound);
  }
}

TEST_CASE("a bias that PEFT wrote under its wrapper is the module's") {
  const auto base_folder = golden("gpt2");
  if (!base_folder) return;
  const std::string plain = *base_folder + "/../gpt2_bitfit/bitfit.safetensors";
  const auto file = must(formats::SafetensorsFile::open(plain));
  const TempFolder temp;
  auto writer = must(formats::SafetensorsWriter::create(temp.file("wrapped.safetensors")));
  for (const formats::SafeTensor& tensor : file.tensors()) {
    std::string name = tensor.name;
    if (const std::size_t at = name.find("c_attn.bias"); at != std::string::npos)
      name.insert(at + 6, ".base_layer");
    REQUIRE(writer.declare_tensor(name, *tensor.dtype, tensor.shape).ok());
  }
  REQUIRE(writer.begin().ok());
  for (const formats::SafeTensor& tensor : file.tensors()) REQUIRE(writer.write(tensor.data).ok());
  REQUIRE(writer.finish().ok());
  const Model base = must(open_any(*base_folder));
  const std::vector<TokenId> ids = {1, 5, 9, 2};
  const auto logits = [&](const std::string& path) {
    const std::vector<AdapterUse> uses = {{must(open_adapter(path, base))}};
    return logits_of(must(with_adapters(base, uses)), ids);
  };
  CHECK(logits(temp.file("wrapped.safetensors")) == logits(plain));
}

TEST_CASE("every golden adapter continues greedily as PEFT does, over the cache") {
  for (const GoldenAdapter& about : kAdapters) {
    CAPTURE(about.name);
    const auto opened = open_golden(about);
    if (!opened) return;
    Session session = must(Session::create(opened->model));
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.ignore_end_tokens = true;
    const std::vector<TokenId> expected = ids_of(opened->golden, "greedy_ids");
    options.max_tokens = static_cast<std::int64_t>(expected.size());
    const Generated reply = must(session.generate(ids_of(opened->golden, "input_ids"), options));
    CHECK(reply.ids == expected);
  }
}

TEST_CASE("weights scale an adapter, and several add up") {
  const auto folder = adapter_folder("llama3_lora", "llama3");
  if (!folder) return;
  const Model base = must(open_any(*golden("llama3")));
  const Adapter adapter = must(open_adapter(*folder, base));
  const std::vector<TokenId> ids = {1, 5, 9, 33, 7};
  const auto with = [&](const std::vector<float>& weights) {
    std::vector<AdapterUse> uses;
    for (const float weight : weights) uses.push_back({adapter, weight});
    return logits_of(must(with_adapters(base, uses)), ids);
  };
  const std::vector<float> none = logits_of(base, ids), whole = with({1.0F});
  CHECK(with({}) == none);
  CHECK(with({0.0F}) == none);
  CHECK(largest_difference(whole, none) > 0.5);
  CHECK(largest_difference(with({0.5F, 0.5F}), whole) < 1e-3);
  CHECK(largest_difference(with({0.5F}), whole) > 0.1);
  CHECK(with_adapters(base, std::array{AdapterUse{adapter, NAN}}).error().code ==
        ErrorCode::kOutOfRange);
}

TEST_CASE("an adapter works beside a quantized base, with the same bits on any number of threads") {
  const auto folder = adapter_folder("llama3_lora", "llama3");
  if (!folder) return;
  const TempFolder temp;
  REQUIRE(convert(*golden("llama3"), temp.file("a.quern"), plain_options("q8")).ok());
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    ModelOptions options;
    options.threads = threads;
    const Model base = must(Model::open(temp.file("a.quern"), options));
    const Adapter adapter = must(open_adapter(*folder, base));
    const auto logits =
        logits_of(must(with_adapters(base, std::array{AdapterUse{adapter}})), {1, 5, 9, 33, 7});
    if (first.empty()) first = logits;
    CHECK(logits == first);
  }
}

TEST_CASE("a GGUF adapter gives what PEFT's gives") {
  const auto folder = adapter_folder("llama3_lora", "llama3");
  if (!folder) return;
  const TempFolder temp;
  write_gguf_adapter(temp.file("a.gguf"), 8.0F);
  const Model base = must(open_any(*golden("llama3")));
  const std::vector<TokenId> ids = {1, 5, 9, 33, 7};
  std::vector<std::vector<float>> logits;
  for (const std::string& file : {*folder, temp.file("a.gguf")}) {
    const Adapter adapter = must(open_adapter(file, base));
    logits.push_back(logits_of(must(with_adapters(base, std::array{AdapterUse{adapter}})), ids));
  }
  CHECK(logits[0] == logits[1]);
}

TEST_CASE("an adapter for another model, or of another kind, is refused by name") {
  const auto folder = adapter_folder("llama3_lora", "llama3");
  if (!folder) return;
  const Model base = must(open_any(*golden("llama3")));
  const Model other = must(open_any(*golden("mistral")));
  const auto misfit = open_adapter(*folder, other);
  REQUIRE_FALSE(misfit.ok());
  CHECK(misfit.error().code == ErrorCode::kMismatch);
  CHECK(misfit.error().describe().find("layers.0") != std::string::npos);
  CHECK(open_adapter(*golden("llama3"), base).error().code == ErrorCode::kMissing);
  CHECK_FALSE(open_adapter(*golden("llama3") + "/model.safetensors", base).ok());
  CHECK(open_adapter("/no/such/adapter", base).error().code == ErrorCode::kIo);

  const TempFolder temp;
  const std::string settings = read_bytes(*folder + "/adapter_config.json");
  write_bytes(temp.file("adapter_model.safetensors"),
              read_bytes(*folder + "/adapter_model.safetensors"));
  const std::pair<const char*, const char*> changes[] = {
      {"\"use_qalora\": false", "\"use_qalora\": true"},
      {"\"peft_type\": \"LORA\"", "\"peft_type\": \"LOHA\""},
      {"\"layer_replication\": null", "\"layer_replication\": [[0, 1]]"},
      {"\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q.*\": 3}"}};
  for (const auto& change : changes) {
    std::string changed = settings;
    const std::size_t at = changed.find(change.first);
    REQUIRE(at != std::string::npos);
    changed.replace(at, std::strlen(change.first), change.second);
    write_bytes(temp.file("adapter_config.json"), changed);
    const auto refused = open_adapter(temp.path(), base);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == ErrorCode::kUnsupported);
    const std::string key(change.first + 1, std::strchr(change.first + 1, '"'));
    CHECK(refused.error().field == key);
  }
}

}  // namespace quern::convert::test
