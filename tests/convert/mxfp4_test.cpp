// gpt-oss as published: experts in MXFP4, codes and scales in tensors of their own.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "quant/float_codec.h"
#include "quern/model.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr std::int64_t kExperts = 4, kDim = 64, kGoldenFfn = 48;
constexpr std::int64_t kFfn = 64;  // Whole blocks; what is beyond the golden's width is zero.
constexpr float kE2m1[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};

struct Tensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

Tensors golden_tensors(const std::string& folder) {
  const auto file = formats::SafetensorsFile::open(folder + "/model.safetensors");
  REQUIRE(file.ok());
  Tensors tensors;
  for (const formats::SafeTensor& tensor : file->tensors()) {
    Tensor& copy = tensors[tensor.name];
    copy.dtype = tensor.dtype_name;
    for (const auto n : tensor.shape) copy.shape.push_back(static_cast<std::int64_t>(n));
    copy.bytes.assign(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return tensors;
}

void write_folder(const TempFolder& temp, const std::string& golden_folder, const Tensors& tensors,
                  bool mxfp4) {
  std::string header = "{", data;
  for (const auto& [name, tensor] : tensors) {
    std::string shape;
    for (const auto n : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(n);
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(data.size()) +
              "," + std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  header += "}";
  const std::uint64_t size = header.size();
  std::string prefix(sizeof size, '\0');
  std::memcpy(prefix.data(), &size, sizeof size);
  write_bytes(temp.file("model.safetensors"), prefix + header + data);
  std::string config = read_bytes(golden_folder + "/config.json");
  const std::string width = "\"intermediate_size\": 48";
  REQUIRE(config.find(width) != std::string::npos);
  config.replace(config.find(width), width.size(), "\"intermediate_size\": 64");
  if (mxfp4) config.replace(0, 1, "{\"quantization_config\": {\"quant_method\": \"mxfp4\"},");
  write_bytes(temp.file("config.json"), config);
}

std::vector<float> from_bf16(const std::string& bytes) {
  std::vector<float> values(bytes.size() / 2);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    values[i] = quant::bf16_to_f32(bits);
  }
  return values;
}

/// What has a bfloat16 of the same value.
void append_bf16(float value, std::string& bytes) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  REQUIRE((bits & 0xffffU) == 0);
  const auto upper = static_cast<std::uint16_t>(bits >> 16);
  bytes.append(reinterpret_cast<const char*>(&upper), 2);
}

std::uint8_t nearest_code(float x) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < 8; ++i) {
    if (std::fabs(std::fabs(x) - kE2m1[i]) < std::fabs(std::fabs(x) - kE2m1[best])) best = i;
  }
  return static_cast<std::uint8_t>(best | (x < 0 ? 8U : 0U));
}

/// One stack of experts `[experts, rows, cols]` in both published forms.
struct Stack {
  Tensor blocks, scales, floats;
};

/// \param value (expert, row, column) → weight; the floats are `[experts, cols, rows]`.
template <class Value>
Stack make_stack(std::int64_t rows, std::int64_t cols, Value value) {
  Stack stack{{"U8", {kExperts, rows, cols / 32, 16}, {}},
              {"U8", {kExperts, rows, cols / 32}, {}},
              {"BF16", {kExperts, cols, rows}, {}}};
  std::vector<float> exact(static_cast<std::size_t>(kExperts * cols * rows));
  for (std::int64_t e = 0; e < kExperts; ++e) {
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t first = 0; first < cols; first += 32) {
        float most = 0.0F;
        for (std::int64_t k = first; k < first + 32; ++k)
          most = std::max(most, std::fabs(value(e, row, k)));
        const int power = most > 0 ? std::ilogb(most) - 2 : 0;
        stack.scales.bytes.push_back(static_cast<char>(power + 127));
        std::uint8_t codes[32];
        for (std::int64_t i = 0; i < 32; ++i) {
          codes[i] = nearest_code(std::ldexp(value(e, row, first + i), -power));
          const float is = std::ldexp(kE2m1[codes[i] & 7], power) * (codes[i] > 7 ? -1.0F : 1.0F);
          exact[static_cast<std::size_t>((e * cols + first + i) * rows + row)] = is;
        }
        for (int i = 0; i < 16; ++i)
          stack.blocks.bytes.push_back(static_cast<char>(codes[2 * i] | codes[2 * i + 1] << 4));
      }
    }
  }
  for (const float x : exact) append_bf16(x, stack.floats.bytes);
  return stack;
}

/// The golden with its experts rounded to MXFP4, in that form and in floats.
struct Fixture {
  TempFolder blocks, floats;
  Tensors block_tensors;
  std::string golden_folder;
  std::vector<TokenId> ids;

  explicit Fixture(const std::string& folder) : golden_folder(folder) {
    block_tensors = golden_tensors(folder);
    Tensors float_tensors = block_tensors;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string stem = "model.layers." + std::to_string(layer) + ".mlp.experts.";
      const auto both = from_bf16(block_tensors[stem + "gate_up_proj"].bytes);
      const auto down = from_bf16(block_tensors[stem + "down_proj"].bytes);
      widen_bias(block_tensors[stem + "gate_up_proj_bias"]);
      float_tensors[stem + "gate_up_proj_bias"] = block_tensors[stem + "gate_up_proj_bias"];
      put(stem + "gate_up_proj", float_tensors,
          make_stack(2 * kFfn, kDim, [&](std::int64_t e, std::int64_t row, std::int64_t k) {
            if (row >= 2 * kGoldenFfn) return 0.0F;
            return both[static_cast<std::size_t>((e * kDim + k) * 2 * kGoldenFfn + row)];
          }));
      put(stem + "down_proj", float_tensors,
          make_stack(kDim, kFfn, [&](std::int64_t e, std::int64_t row, std::int64_t k) {
            if (k >= kGoldenFfn) return 0.0F;
            return down[static_cast<std::size_t>((e * kGoldenFfn + k) * kDim + row)];
          }));
    }
    write_folder(blocks, folder, block_tensors, true);
    write_folder(floats, folder, float_tensors, false);
    const auto golden_file = formats::SafetensorsFile::open(folder + "/golden.safetensors");
    REQUIRE(golden_file.ok());
    const formats::SafeTensor* tokens = golden_file->find("input_ids");
    REQUIRE(tokens != nullptr);
    for (std::size_t at = 0; at < tokens->data.size(); at += 8) {
      std::int64_t id;
      std::memcpy(&id, tokens->data.data() + at, 8);
      ids.push_back(static_cast<TokenId>(id));
    }
  }

 private:
  void put(const std::string& name, Tensors& float_tensors, Stack stack) {
    block_tensors.erase(name);
    block_tensors[name + "_blocks"] = std::move(stack.blocks);
    block_tensors[name + "_scales"] = std::move(stack.scales);
    float_tensors[name] = std::move(stack.floats);
  }

  static void widen_bias(Tensor& bias) {
    std::string wide;
    const std::size_t row = static_cast<std::size_t>(4 * kGoldenFfn);
    for (std::size_t at = 0; at < bias.bytes.size(); at += row)
      wide += bias.bytes.substr(at, row) + std::string(4 * (kFfn - kGoldenFfn), '\0');
    bias.bytes = wide;
    bias.shape[1] = 2 * kFfn;
  }
};

ConvertReport convert_or_fail(const std::string& from, const std::string& to,
                              const std::string& encoding) {
  auto report = convert(from, to, plain_options(encoding));
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
  return std::move(report).value();
}

/// The largest difference, in standard deviations of `want`.
double distance(const std::vector<float>& want, const std::vector<float>& got) {
  REQUIRE(want.size() == got.size());
  double worst = 0, sum = 0, squares = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const auto x = static_cast<double>(want[i]);
    worst = std::max(worst, std::fabs(x - static_cast<double>(got[i])));
    sum += x;
    squares += x * x;
  }
  const double n = static_cast<double>(want.size()), mean = sum / n;
  return worst / std::sqrt(squares / n - mean * mean);
}

TEST_CASE("published MXFP4 experts keep their bits, which mean the floats that they stand for") {
  const auto folder = golden("gpt_oss");
  if (!folder) return;
  const Fixture fixture(*folder);
  const TempFolder temp;
  const ConvertReport kept =
      convert_or_fail(fixture.blocks.path(), temp.file("kept.quern"), "keep");
  int experts = 0;
  for (const PlannedTensor& tensor : kept.plan.tensors) {
    if (tensor.name.find("experts") == std::string::npos || tensor.shape.size() < 3) continue;
    ++experts;
    CHECK(tensor.encoding == Encoding::kMXFP4);
    // One exponent and 16 bytes of codes for 32 weights; gate and up lie in one tensor.
    const std::uint64_t matrices = tensor.name.find("down") == std::string::npos ? 2 : 1;
    CHECK(tensor.source_bytes * 32 ==
          17 * matrices * tensor.shape[0] * tensor.shape[1] * tensor.shape[2]);
  }
  CHECK(experts == 6);  // Gate, up and down of two layers.

  convert_or_fail(fixture.floats.path(), temp.file("floats.quern"), "f32");
  const std::vector<float> want =
      logits_of(must(Model::open(temp.file("floats.quern"))), fixture.ids);
  convert_or_fail(fixture.blocks.path(), temp.file("decoded.quern"), "f32");
  CHECK(logits_of(must(Model::open(temp.file("decoded.quern"))), fixture.ids) == want);
  convert_or_fail(temp.file("kept.quern"), temp.file("again.quern"), "f32");
  CHECK(logits_of(must(Model::open(temp.file("again.quern"))), fixture.ids) == want);

  const std::vector<float> logits =
      logits_of(must(Model::open(temp.file("kept.quern"))), fixture.ids);
  MESSAGE("int8 activations: " << distance(want, logits) << " of the standard deviation");
  CHECK(distance(want, logits) <= 0.1);
  convert_or_fail(temp.file("kept.quern"), temp.file("a.gguf"), "keep");
  convert_or_fail(temp.file("a.gguf"), temp.file("back.quern"), "keep");
  CHECK(logits_of(must(Model::open(temp.file("back.quern"))), fixture.ids) == logits);
  convert_or_fail(fixture.blocks.path(), temp.file("b.gguf"), "keep");
  const auto a = must(formats::GgufFile::open(temp.file("a.gguf")));
  const auto b = must(formats::GgufFile::open(temp.file("b.gguf")));
  REQUIRE(a.tensors().size() == b.tensors().size());
  for (const formats::GgufTensor& tensor : a.tensors()) {
    const formats::GgufTensor* other = b.find_tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(
        std::equal(tensor.data.begin(), tensor.data.end(), other->data.begin(), other->data.end()));
  }
}

TEST_CASE("MXFP4 blocks without fitting scales, and other packings, are refused by name") {
  const auto folder = golden("gpt_oss");
  if (!folder) return;
  const Fixture fixture(*folder);
  const std::string name = "model.layers.1.mlp.experts.down_proj";
  const auto refusal = [&](const Tensors& tensors) {
    const TempFolder source, temp;
    write_folder(source, fixture.golden_folder, tensors, true);
    const auto report = convert(source.path(), temp.file("a.quern"), plain_options());
    REQUIRE(!report.ok());
    CHECK(temp.names().empty());
    return report.error();
  };
  Tensors tensors = fixture.block_tensors;
  tensors.erase(name + "_scales");
  Error error = refusal(tensors);
  CHECK(error.code == ErrorCode::kMissing);
  CHECK(error.describe().find(name + "_blocks") != std::string::npos);

  tensors = fixture.block_tensors;
  tensors[name + "_scales"].shape = {kExperts, kDim * kFfn / 32};
  error = refusal(tensors);
  CHECK(error.code == ErrorCode::kMismatch);
  CHECK(error.describe().find(name) != std::string::npos);

  const TempFolder source, temp;
  write_folder(source, fixture.golden_folder, fixture.block_tensors, true);
  std::string config = read_bytes(source.file("config.json"));
  config.replace(config.find("\"mxfp4\""), 7, "\"fp8\"");
  write_bytes(source.file("config.json"), config);
  const auto report = convert(source.path(), temp.file("a.quern"), plain_options());
  REQUIRE(!report.ok());
  CHECK(report.error().code == ErrorCode::kUnsupported);
  CHECK(report.error().describe().find("quant_method") != std::string::npos);
}

}  // namespace
}  // namespace quern::convert::test
