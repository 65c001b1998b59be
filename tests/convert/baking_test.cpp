// Adapters made part of the weights: the model beside its adapters, and the file without them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "convert/convert.h"
#include "fixtures.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

const std::vector<TokenId> kIds = {1, 5, 9, 33, 7, 12};

/// An adapter of the goldens, which lie beside `base`.
std::string beside(const std::string& base, const std::string& name) {
  return (std::filesystem::path(*golden(base)).parent_path() / name).string();
}

Model beside_adapters(const Model& base, const std::vector<AdapterFile>& files) {
  std::vector<AdapterUse> uses;
  for (const AdapterFile& file : files)
    uses.push_back({must(open_adapter(file.path, base)), file.weight});
  return must(with_adapters(base, uses));
}

ConvertOptions baking(const std::vector<AdapterFile>& files, const std::string& encoding) {
  ConvertOptions options = plain_options(encoding, 2);
  options.adapters = files;
  return options;
}

}  // namespace

TEST_CASE("a file with adapters baked in gives the logits of the model beside them") {
  const auto llama = golden("llama3");
  if (!llama) return;
  const std::string lora = beside("llama3", "llama3_lora");
  const struct {
    const char* base;
    std::vector<AdapterFile> files;
  } rows[] = {
      {"llama3", {{lora}}},
      {"llama3", {{lora, 0.5F}, {fixture("llama3_dora"), 1.5F}}},
      {"llama3", {{fixture("llama3_ia3")}, {fixture("llama3_ia3"), 0.5F}}},
      {"qwen2", {{beside("qwen2", "qwen2_lora_rs")}, {fixture("qwen2_dora")}}},
      {"gpt2", {{beside("gpt2", "gpt2_lora"), -0.5F}, {fixture("gpt2_dora")}}},
      {"gpt2", {{beside("gpt2", "gpt2_bitfit/bitfit.safetensors")}, {fixture("gpt2_ia3"), 0.7F}}}};
  for (const auto& row : rows) {
    CAPTURE(row.base);
    CAPTURE(row.files.front().path);
    const TempFolder temp;
    const Model base = must(open_any(*golden(row.base)));
    const auto expected = logits_of(beside_adapters(base, row.files), kIds);
    CHECK(largest_difference(expected, logits_of(base, kIds)) > 0.1);
    // In GGUF the rows of a head may stand in another order.
    for (const char* file : {"a.quern", "a.gguf"}) {
      CAPTURE(file);
      must(convert(*golden(row.base), temp.file(file), baking(row.files, "f32")));
      CHECK(largest_difference(logits_of(must(open_any(temp.file(file))), kIds), expected) < 1e-3);
    }
    // The baked file is as good a source as any.
    must(convert(temp.file("a.gguf"), temp.file("b.quern"), plain_options()));
    CHECK(largest_difference(logits_of(must(Model::open(temp.file("b.quern"))), kIds), expected) <
          1e-3);
  }
}

TEST_CASE("what adapters leave alone keeps its bits, and what they change says so") {
  const auto llama = golden("llama3");
  if (!llama) return;
  const TempFolder temp;
  const std::string base = temp.file("base.quern"), baked = temp.file("baked.quern");
  must(convert(*llama, base, plain_options("q8")));
  const auto report = must(convert(base, baked, baking({{fixture("llama3_dora")}}, "keep")));
  const Model before = must(Model::open(base)), after = must(Model::open(baked));
  std::map<std::string, std::uint64_t> sums;
  for (const TensorInfo& tensor : before.tensors())
    sums[std::string(tensor.name)] = tensor.checksum;
  std::size_t changed = 0;
  for (const TensorInfo& tensor : after.tensors()) {
    const std::string name(tensor.name);
    CAPTURE(name);
    const auto planned =
        std::find_if(report.plan.tensors.begin(), report.plan.tensors.end(),
                     [&](const PlannedTensor& shown) { return shown.name == name; });
    REQUIRE(planned != report.plan.tensors.end());
    const bool says_so = planned->transform.find("adapter") != std::string::npos;
    CHECK((sums[name] != tensor.checksum) == says_so);
    changed += says_so ? 1 : 0;
  }
  CHECK(changed == 6);  // Three matrices of two layers.
  // Encoded anew in 8 bits, the answers stay about as near as 8 bits are.
  const auto expected = logits_of(beside_adapters(before, {{fixture("llama3_dora")}}), kIds);
  const double rounding =
      largest_difference(logits_of(before, kIds), logits_of(must(open_any(*llama)), kIds));
  CHECK(largest_difference(logits_of(after, kIds), expected) < 2 * rounding);
}

TEST_CASE("baking that has no meaning is refused, and nothing is written") {
  const auto llama = golden("llama3");
  if (!llama) return;
  const TempFolder temp;
  const std::string out = temp.file("out.quern");
  ConvertOptions options = baking({{fixture("llama3_dora")}}, "keep");
  options.target_bits = 5;
  auto refused = convert(*llama, out, options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kUnsupported);
  CHECK(refused.error().field == "adapters");
  const std::pair<std::vector<AdapterFile>, ErrorCode> rows[] = {
      {{{fixture("llama3_dora")}, {fixture("llama3_ia3")}}, ErrorCode::kUnsupported},
      {{{fixture("gpt2_dora")}}, ErrorCode::kMismatch},
      {{{fixture("llama3_dora"), NAN}}, ErrorCode::kOutOfRange},
      {{{"/no/such/adapter"}}, ErrorCode::kIo}};
  for (const auto& row : rows) {
    const auto bad = convert(*llama, out, baking(row.first, "f32"));
    REQUIRE_FALSE(bad.ok());
    CHECK(bad.error().code == row.second);
  }
  CHECK(temp.names().empty());
  CHECK(must(plan(*llama, out, baking({{fixture("llama3_dora")}}, "f32"))).output_bytes > 0);
}

}  // namespace quern::convert::test
