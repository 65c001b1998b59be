// DoRA and IA3: PEFT's logits, weights, and what cannot combine. fixtures/make_adapters.py made the
// adapters.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/safetensors_reader.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-4;  // Of the logits' standard deviation.

struct Row {
  const char *name, *base;
};
constexpr Row kAdapters[] = {{"llama3_dora", "llama3"},
                             {"qwen2_dora", "qwen2"},
                             {"gpt2_dora", "gpt2"},
                             {"llama3_ia3", "llama3"},
                             {"gpt2_ia3", "gpt2"}};

template <class From>
std::vector<From> numbers_of(const std::string& folder, const char* name) {
  const auto file = must(formats::SafetensorsFile::open(folder + "/golden.safetensors"));
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<From> values(tensor->data.size() / sizeof(From));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

std::vector<TokenId> ids_of(const std::string& folder) {
  const auto wide = numbers_of<std::int64_t>(folder, "input_ids");
  return {wide.begin(), wide.end()};
}

/// The last `count` numbers of all logits.
std::vector<float> last_logits(const Model& model, const std::vector<TokenId>& ids,
                               std::size_t count) {
  const std::vector<float> logits = logits_of(model, ids);
  REQUIRE(logits.size() >= count);
  return {logits.end() - static_cast<std::ptrdiff_t>(count), logits.end()};
}

Model with(const Model& base, const std::vector<AdapterUse>& uses) {
  return must(with_adapters(base, uses));
}

/// A copy of a fixture in `folder` with a changed setting.
void copy_with(const std::string& name, const TempFolder& folder, const std::string& from,
               const std::string& to) {
  std::string settings = read_bytes(fixture(name) + "/adapter_config.json");
  const std::size_t at = settings.find(from);
  REQUIRE(at != std::string::npos);
  write_bytes(folder.file("adapter_config.json"), settings.replace(at, from.size(), to));
  write_bytes(folder.file("adapter_model.safetensors"),
              read_bytes(fixture(name) + "/adapter_model.safetensors"));
}

}  // namespace

TEST_CASE("DoRA and IA3 give PEFT's logits, over biases and fused matrices too") {
  for (const Row& row : kAdapters) {
    CAPTURE(row.name);
    if (!golden(row.base)) return;
    const Model base = must(open_any(*golden(row.base)));
    const Adapter adapter = must(open_adapter(fixture(row.name), base));
    CHECK(adapter.scales() > 0);
    const auto expected = numbers_of<float>(fixture(row.name), "logits");
    const double bound =
        kTolerance * static_cast<double>(numbers_of<float>(fixture(row.name), "std").front());
    const std::vector<TokenId> ids = ids_of(fixture(row.name));
    const auto found = last_logits(with(base, {{adapter}}), ids, expected.size());
    CHECK(largest_difference(found, expected) <= bound);
    // Nothing of it changes nothing.
    const auto none = last_logits(base, ids, expected.size());
    CHECK(largest_difference(none, expected) > 100 * bound);
    CHECK(largest_difference(last_logits(with(base, {{adapter, 0.0F}}), ids, expected.size()),
                             none) <= bound);
  }
}

TEST_CASE("two halves of DoRA are the whole, and twice IA3 is its square") {
  if (!golden("llama3")) return;
  const Model base = must(open_any(*golden("llama3")));
  const std::vector<TokenId> ids = ids_of(fixture("llama3_dora"));
  const std::size_t count = 640;
  const Adapter dora = must(open_adapter(fixture("llama3_dora"), base));
  const auto whole = last_logits(with(base, {{dora}}), ids, count);
  CHECK(largest_difference(last_logits(with(base, {{dora, 0.5F}, {dora, 0.5F}}), ids, count),
                           whole) < 1e-3);
  const auto half = last_logits(with(base, {{dora, 0.5F}}), ids, count);
  CHECK(largest_difference(half, whole) > 0.05);

  const Adapter ia3 = must(open_adapter(fixture("llama3_ia3"), base));
  const auto twice = last_logits(with(base, {{ia3}, {ia3}}), ids, count);
  const auto once = last_logits(with(base, {{ia3}}), ids, count);
  CHECK(largest_difference(twice, once) > 0.05);
  // The order does not matter.
  const auto mixed = last_logits(with(base, {{ia3, 0.5F}, {ia3}}), ids, count);
  CHECK(largest_difference(mixed, last_logits(with(base, {{ia3}, {ia3, 0.5F}}), ids, count)) <
        1e-3);
}

TEST_CASE("factors work beside a quantized base, with the same bits on any number of threads") {
  if (!golden("llama3")) return;
  const TempFolder temp;
  REQUIRE(convert(*golden("llama3"), temp.file("a.quern"), plain_options("q8")).ok());
  for (const char* name : {"llama3_dora", "llama3_ia3"}) {
    CAPTURE(name);
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      ModelOptions options;
      options.threads = threads;
      const Model base = must(Model::open(temp.file("a.quern"), options));
      const Adapter adapter = must(open_adapter(fixture(name), base));
      const auto logits = last_logits(with(base, {{adapter}}), ids_of(fixture(name)), 640);
      if (first.empty()) first = logits;
      CHECK(logits == first);
    }
    // The adapter is about as far from PEFT's logits as 8 bits take the base from its own.
    const std::vector<TokenId> ids = ids_of(fixture(name));
    const double rounding =
        largest_difference(last_logits(must(Model::open(temp.file("a.quern"))), ids, 640),
                           last_logits(must(open_any(*golden("llama3"))), ids, 640));
    const auto expected = numbers_of<float>(fixture(name), "logits");
    CHECK(largest_difference(first, expected) < 2 * rounding);
  }
}

TEST_CASE("what cannot combine, or was made for another model, is refused by name") {
  const auto folder = golden("llama3");
  if (!folder) return;
  const Model base = must(open_any(*folder));
  const Adapter dora = must(open_adapter(fixture("llama3_dora"), base));
  const Adapter ia3 = must(open_adapter(fixture("llama3_ia3"), base));
  const auto both = with_adapters(base, std::array{AdapterUse{dora}, AdapterUse{ia3}});
  REQUIRE_FALSE(both.ok());
  CHECK(both.error().code == ErrorCode::kUnsupported);
  CHECK(both.error().field.find("layers.0.") == 0);

  for (const char* name : {"llama3_dora", "llama3_ia3"}) {
    const auto other = open_adapter(fixture(name), must(open_any(*golden("mistral"))));
    REQUIRE_FALSE(other.ok());
    CHECK(other.error().code == ErrorCode::kMismatch);
  }
  const TempFolder temp;
  // Magnitudes and their setting go together.
  copy_with("llama3_dora", temp, "\"use_dora\": true", "\"use_dora\": false");
  const auto unsaid = open_adapter(temp.path(), base);
  REQUIRE_FALSE(unsaid.ok());
  CHECK(unsaid.error().code == ErrorCode::kUnsupported);
  CHECK(unsaid.error().field.find("lora_magnitude") != std::string::npos);
  const std::string lora = folder->substr(0, folder->size() - 6) + "llama3_lora";
  write_bytes(temp.file("adapter_model.safetensors"),
              read_bytes(lora + "/adapter_model.safetensors"));
  write_bytes(temp.file("adapter_config.json"),
              read_bytes(fixture("llama3_dora") + "/adapter_config.json"));
  const auto lacking = open_adapter(temp.path(), base);
  REQUIRE_FALSE(lacking.ok());
  CHECK(lacking.error().code == ErrorCode::kMissing);
  CHECK(lacking.error().field.find("lora_magnitude_vector") != std::string::npos);
}

}  // namespace quern::convert::test
