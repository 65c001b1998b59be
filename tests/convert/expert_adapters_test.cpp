// Low-rank adapters of a mixture's experts: PEFT's logits, in each form that files have, beside
// quantized bases, added up, baked in, refused. fixtures/make_expert_adapters.py made the adapters.
#include <doctest/doctest.h>

#include <array>
#include <cstring>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-4;  // Of the logits' standard deviation.

struct Row {
  const char *name, *base;
  std::size_t pairs;
};
// All experts of one parameter: stored [out, in], [in, out], and of one matrix alone; then modules
// of single experts.
constexpr Row kAdapters[] = {{"mixtral_experts", "mixtral", 4},
                             {"gpt_oss_experts", "gpt_oss", 3},
                             {"granitemoe_experts", "granitemoe", 1},
                             {"mixtral_modules", "mixtral", 3}};

using Floats = std::vector<float>;

template <class From>
std::vector<From> numbers_of(const std::string& file, const std::string& name) {
  const auto opened = must(formats::SafetensorsFile::open(file));
  const formats::SafeTensor* tensor = opened.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<From> values(tensor->data.size() / sizeof(From));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

Floats golden_of(const Row& row, const char* name) {
  return numbers_of<float>(fixture(row.name) + "/golden.safetensors", name);
}

/// The logits of the last rows, as many as the fixture has.
Floats last_logits(const Row& row, const Model& model) {
  const auto wide =
      numbers_of<std::int64_t>(fixture(row.name) + "/golden.safetensors", "input_ids");
  const Floats logits = logits_of(model, {wide.begin(), wide.end()});
  const auto count = static_cast<std::ptrdiff_t>(golden_of(row, "logits").size());
  REQUIRE(static_cast<std::ptrdiff_t>(logits.size()) >= count);
  return {logits.end() - count, logits.end()};
}

Model with(const Model& base, const std::vector<AdapterUse>& uses) {
  return must(with_adapters(base, uses));
}

struct Matrix {
  std::string name;
  std::vector<std::uint64_t> shape;
  Floats values;
};

std::vector<Matrix> matrices_of(const std::string& file) {
  std::vector<Matrix> all;
  const auto opened = must(formats::SafetensorsFile::open(file));
  for (const formats::SafeTensor& tensor : opened.tensors())
    all.push_back({tensor.name, tensor.shape, numbers_of<float>(file, tensor.name)});
  return all;
}

void write_matrices(const std::string& path, const std::vector<Matrix>& matrices) {
  auto writer = must(formats::SafetensorsWriter::create(path));
  for (const Matrix& matrix : matrices)
    REQUIRE(
        writer.declare_tensor(matrix.name, *formats::find_safe_dtype("F32"), matrix.shape).ok());
  REQUIRE(writer.begin().ok());
  for (const Matrix& matrix : matrices)
    REQUIRE(writer.write(std::as_bytes(std::span(matrix.values))).ok());
  REQUIRE(writer.finish().ok());
}

/// A copy of a fixture's settings, with `from` changed to `to`.
void copy_settings(const char* name, const TempFolder& folder, const std::string& from,
                   const std::string& to) {
  std::string settings = read_bytes(fixture(name) + "/adapter_config.json");
  const std::size_t at = settings.find(from);
  REQUIRE(at != std::string::npos);
  write_bytes(folder.file("adapter_config.json"), settings.replace(at, from.size(), to));
}

/// As PEFT before 0.19 had the pairs of parameters stored [out, in]: A is the transpose of what is
/// B now, an expert's rows beside one another, and B that of A.
void turn(std::vector<Matrix>& matrices, std::uint64_t experts) {
  for (Matrix& a : matrices) {
    if (a.name.find("experts") == std::string::npos || a.name.find("lora_A") == std::string::npos)
      continue;
    std::string other = a.name;
    other.replace(other.find("lora_A"), 6, "lora_B");
    for (Matrix& b : matrices) {
      if (b.name != other) continue;
      const std::uint64_t both = a.shape[0], in = a.shape[1], out = b.shape[0];
      const std::uint64_t rank = both / experts;
      Floats new_a(both * out), new_b(in * both);
      for (std::uint64_t e = 0; e < experts; ++e) {
        for (std::uint64_t r = 0; r < rank; ++r) {
          const std::uint64_t row = e * rank + r, column = r * experts + e;
          for (std::uint64_t i = 0; i < out; ++i)
            new_a[row * out + i] = b.values[i * both + column];
          for (std::uint64_t k = 0; k < in; ++k) new_b[k * both + column] = a.values[row * in + k];
        }
      }
      a = {a.name, {both, out}, new_a};
      b = {b.name, {in, both}, new_b};
    }
  }
}

/// The pairs of mixtral_modules as llama.cpp has them: a pair of tensors with one matrix per
/// expert.
void write_gguf(const std::string& path) {
  const auto peft = matrices_of(fixture("mixtral_modules") + "/adapter_model.safetensors");
  auto writer = must(formats::GgufWriter::create(path));
  REQUIRE(writer.add_string("general.type", "adapter").ok());
  REQUIRE(writer.add_string("general.architecture", "llama").ok());
  REQUIRE(writer.add_string("adapter.type", "lora").ok());
  REQUIRE(writer.add_float("adapter.lora.alpha", 2.0).ok());
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"w1", "ffn_gate_exps"}, {"w2", "ffn_down_exps"}, {"w3", "ffn_up_exps"}};
  std::vector<Floats> data;
  for (const auto& [module, gguf] : kNames) {
    for (const bool is_b : {false, true}) {
      Floats all;
      std::vector<std::uint64_t> shape;
      for (int e = 0; e < 6; ++e) {
        const std::string end = "layers.0.block_sparse_moe.experts." + std::to_string(e) + "." +
                                module + (is_b ? ".lora_B.weight" : ".lora_A.weight");
        for (const Matrix& matrix : peft) {
          if (!matrix.name.ends_with(end)) continue;
          shape = {matrix.shape[1], matrix.shape[0], 6};
          all.insert(all.end(), matrix.values.begin(), matrix.values.end());
        }
      }
      REQUIRE(all.size() == shape[0] * shape[1] * shape[2]);
      const std::string name =
          "blk.0." + std::string(gguf) + (is_b ? ".weight.lora_b" : ".weight.lora_a");
      REQUIRE(writer.declare_tensor(name, shape, *formats::ggml_type_of(Encoding::kF32)).ok());
      data.push_back(std::move(all));
    }
  }
  REQUIRE(writer.begin().ok());
  for (const Floats& all : data) REQUIRE(writer.write(std::as_bytes(std::span(all))).ok());
  REQUIRE(writer.finish().ok());
}

}  // namespace

TEST_CASE("adapters of experts give PEFT's logits, and scale with their weights") {
  for (const Row& row : kAdapters) {
    CAPTURE(row.name);
    if (!golden(row.base)) return;
    const Model base = must(open_any(*golden(row.base)));
    const Adapter adapter = must(open_adapter(fixture(row.name), base));
    CHECK(adapter.pairs() == row.pairs);
    const double bound = kTolerance * static_cast<double>(golden_of(row, "std").front());
    const Floats expected = golden_of(row, "logits"), none = last_logits(row, base);
    CHECK(largest_difference(last_logits(row, with(base, {{adapter}})), expected) <= bound);
    CHECK(largest_difference(none, expected) > 100 * bound);
    const Model halves = with(base, {{adapter, 0.25F}, {adapter, 0.75F}});
    CHECK(largest_difference(last_logits(row, halves), expected) <= 2 * bound);
    CHECK(last_logits(row, with(base, {{adapter, 0.0F}})) == none);
  }
}

TEST_CASE("adapters of experts work beside quantized bases, with the same bits on any threads") {
  for (const Row& row : kAdapters) {
    if (!golden(row.base)) return;
    const TempFolder temp;
    const std::string file = temp.file("a.quern");
    for (const char* encoding : {"q8", "qr4"}) {
      CAPTURE(row.name);
      CAPTURE(encoding);
      must(convert(*golden(row.base), file, plain_options(encoding)));
      Floats first;
      for (const int threads : {1, 3}) {
        ModelOptions options;
        options.threads = threads;
        const Model base = must(Model::open(file, options));
        const Adapter adapter = must(open_adapter(fixture(row.name), base));
        const Floats logits = last_logits(row, with(base, {{adapter}}));
        if (first.empty()) first = logits;
        CHECK(logits == first);
        CHECK(largest_difference(first, last_logits(row, base)) > 0.01);
      }
    }
  }
}

TEST_CASE("a file with adapters of experts baked in gives the logits of the model beside them") {
  for (const Row& row : kAdapters) {
    CAPTURE(row.name);
    if (!golden(row.base)) return;
    const TempFolder temp;
    const Model base = must(open_any(*golden(row.base)));
    const Adapter adapter = must(open_adapter(fixture(row.name), base));
    const Floats expected = last_logits(row, with(base, {{adapter, 0.5F}, {adapter, 0.75F}}));
    ConvertOptions options = plain_options("f32", 2);
    options.adapters = {{fixture(row.name), 0.5F}, {fixture(row.name), 0.75F}};
    for (const char* file : {"a.quern", "a.gguf"}) {
      CAPTURE(file);
      must(convert(*golden(row.base), temp.file(file), options));
      CHECK(largest_difference(last_logits(row, must(open_any(temp.file(file)))), expected) < 1e-3);
    }
  }
}

TEST_CASE("other forms of an adapter of experts give the same numbers") {
  if (!golden("mixtral")) return;
  const Model base = must(open_any(*golden("mixtral")));
  const Row fused = kAdapters[0], single = kAdapters[3];
  const TempFolder temp;
  const auto logits = [&](const Row& row, const std::string& path) {
    return last_logits(row, with(base, {{must(open_adapter(path, base))}}));
  };
  auto matrices = matrices_of(fixture(fused.name) + "/adapter_model.safetensors");
  turn(matrices, 6);
  write_matrices(temp.file("adapter_model.safetensors"), matrices);
  copy_settings(fused.name, temp, "\"peft_version\": \"0.21.2\"", "\"peft_version\": \"0.18.1\"");
  CHECK(logits(fused, temp.path()) == logits(fused, fixture(fused.name)));

  // A parameter by its name alone is not one of every module, the router's for one.
  write_bytes(temp.file("adapter_model.safetensors"),
              read_bytes(fixture(fused.name) + "/adapter_model.safetensors"));
  copy_settings(fused.name, temp, "\"1.mlp.experts.down_proj\"", "\"down_proj\"");
  CHECK(logits(fused, temp.path()) == logits(fused, fixture(fused.name)));

  write_gguf(temp.file("a.gguf"));
  CHECK(logits(single, temp.file("a.gguf")) == logits(single, fixture(single.name)));

  // Converted, and of one expert alone.
  REQUIRE(convert_adapter(fixture(fused.name), base, temp.file("a.quern")).ok());
  CHECK(logits(fused, temp.file("a.quern")) == logits(fused, fixture(fused.name)));
  auto some = matrices_of(fixture(single.name) + "/adapter_model.safetensors");
  std::erase_if(some, [](const Matrix& matrix) {
    return matrix.name.find("experts.2.") == std::string::npos;
  });
  write_matrices(temp.file("adapter_model.safetensors"), some);
  copy_settings(single.name, temp, "\"r\": 1", "\"r\": 1");
  CHECK(must(open_adapter(temp.path(), base)).pairs() == 3);
}

TEST_CASE("adapters of experts that do not fit are refused by name") {
  if (!golden("mixtral")) return;
  const Model base = must(open_any(*golden("mixtral")));
  const auto other = open_adapter(fixture("gpt_oss_experts"), base);
  REQUIRE_FALSE(other.ok());
  CHECK(other.error().code == ErrorCode::kMismatch);
  CHECK(other.error().field.find("layers.1.mlp.experts") != std::string::npos);
  const auto dense = open_adapter(fixture("mixtral_modules"), must(open_any(*golden("llama3"))));
  REQUIRE_FALSE(dense.ok());
  CHECK(dense.error().code == ErrorCode::kMismatch);

  const TempFolder temp;
  const std::string model = temp.file("adapter_model.safetensors");
  write_bytes(model, read_bytes(fixture("mixtral_experts") + "/adapter_model.safetensors"));
  copy_settings("mixtral_experts", temp, "gate_up_proj\",", "gate_up_proj_bias\",");
  const auto bias = open_adapter(temp.path(), base);
  REQUIRE_FALSE(bias.ok());
  CHECK(bias.error().code == ErrorCode::kUnsupported);
  CHECK(bias.error().field == "target_parameters");

  // Magnitudes: PEFT itself gives parameters none, modules of single experts could have them.
  auto matrices = matrices_of(fixture("mixtral_modules") + "/adapter_model.safetensors");
  std::vector<Matrix> magnitudes;
  for (const Matrix& matrix : matrices) {
    const std::size_t at = matrix.name.find(".lora_B.weight");
    if (at == std::string::npos) continue;
    magnitudes.push_back({matrix.name.substr(0, at) + ".lora_magnitude_vector",
                          {matrix.shape[0]},
                          Floats(matrix.shape[0], 1.0F)});
  }
  matrices.insert(matrices.end(), magnitudes.begin(), magnitudes.end());
  write_matrices(model, matrices);
  copy_settings("mixtral_modules", temp, "\"use_dora\": false", "\"use_dora\": true");
  const auto dora = open_adapter(temp.path(), base);
  REQUIRE_FALSE(dora.ok());
  CHECK(dora.error().code == ErrorCode::kUnsupported);
  CHECK(dora.error().describe().find("experts.0.w1") != std::string::npos);
}

}  // namespace quern::convert::test
