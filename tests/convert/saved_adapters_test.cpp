// Adapters of embeddings and heads: low-rank pairs of both, modules that are saved whole, new rows
// for some tokens. adapters/make.py made the bases, the adapters and PEFT's logits.
#include <doctest/doctest.h>

#include <array>
#include <cstring>

#include "fixtures.h"
#include "formats/safetensors_reader.h"
#include "quern/encoder.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-5;  // Of logits whose standard deviation is near one.

struct Row {
  const char *name, *base;
};
constexpr Row kDecoders[] = {
    {"tied_embedding", "tied"},  {"tied_head", "tied"},     {"tied_saved_embedding", "tied"},
    {"tied_saved_head", "tied"}, {"tied_kept", "tied"},     {"tied_tokens", "tied"},
    {"tied_dora_head", "tied"},  {"untied_both", "untied"}, {"untied_saved", "untied"},
    {"untied_tokens", "untied"},
};
const std::vector<TokenId> kIds = {1, 5, 9, 3, 7, 12, 20, 2};

std::string folder_of(const std::string& name) { return fixture("../adapters/" + name); }

std::vector<float> golden_logits(const std::string& name) {
  const auto file = must(formats::SafetensorsFile::open(folder_of(name) + "/golden.safetensors"));
  const formats::SafeTensor* tensor = file.find("logits");
  REQUIRE(tensor != nullptr);
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

Model with(const Model& base, const std::vector<AdapterUse>& uses) {
  return must(with_adapters(base, uses));
}

Model baked(const std::string& base, const std::vector<AdapterFile>& adapters,
            const std::string& output, const char* encoding = "keep") {
  ConvertOptions options = plain_options(encoding);
  options.adapters = adapters;
  must(convert(base, output, options));
  return must(Model::open(output));
}

}  // namespace

TEST_CASE("adapters of embeddings and heads give PEFT's logits, beside the base and baked in") {
  for (const Row& row : kDecoders) {
    CAPTURE(row.name);
    const Model base = must(open_any(folder_of(row.base)));
    const Adapter adapter = must(open_adapter(folder_of(row.name), base));
    const std::vector<float> want = golden_logits(row.name);
    const std::vector<float> beside = logits_of(with(base, {{adapter}}), kIds);
    CHECK(largest_difference(beside, want) < kTolerance);
    CHECK(largest_difference(logits_of(base, kIds), want) > 0.05);
    const TempFolder folder;
    const Model one =
        baked(folder_of(row.base), {{folder_of(row.name), 1.0F}}, folder.file("baked.quern"));
    CHECK(largest_difference(logits_of(one, kIds), want) < kTolerance);
    // A container of the adapter is the adapter.
    REQUIRE(convert_adapter(folder_of(row.name), base, folder.file("adapter.quern")).ok());
    const Adapter again = must(open_adapter(folder.file("adapter.quern"), base));
    CHECK(logits_of(with(base, {{again}}), kIds) == beside);
  }
}

TEST_CASE("a base that was converted twice, through GGUF too, takes what parts its output") {
  const TempFolder folder;
  for (const char* name : {"tied_embedding", "tied_head", "tied_saved_embedding", "tied_tokens"}) {
    CAPTURE(name);
    const std::vector<float> want = golden_logits(name);
    const Model base = must(open_any(folder_of("tied")));
    REQUIRE(convert_adapter(folder_of(name), base, folder.file("adapter.quern")).ok());
    must(convert(folder_of("tied"), folder.file("base.quern"), plain_options()));
    const std::vector<AdapterFile> adapter = {{folder.file("adapter.quern"), 1.0F}};
    baked(folder.file("base.quern"), adapter, folder.file("baked.gguf.quern"));
    ConvertOptions options = plain_options();
    options.adapters = adapter;
    must(convert(folder.file("base.quern"), folder.file("baked.gguf"), options));
    const Model back = must(open_any(folder.file("baked.gguf")));
    CHECK(largest_difference(logits_of(back, kIds), want) < kTolerance);
  }
}

TEST_CASE("pairs of embeddings and heads have weights, and what is whole is there at any") {
  const Model base = must(open_any(folder_of("tied")));
  const std::vector<float> none = logits_of(base, kIds);
  for (const char* name : {"tied_embedding", "tied_head", "tied_tokens"}) {
    CAPTURE(name);
    const Adapter adapter = must(open_adapter(folder_of(name), base));
    CHECK(largest_difference(logits_of(with(base, {{adapter, 0.0F}}), kIds), none) < 1e-6);
    const auto whole = logits_of(with(base, {{adapter}}), kIds);
    const auto halves = logits_of(with(base, {{adapter, 0.5F}, {adapter, 0.5F}}), kIds);
    CHECK(largest_difference(halves, whole) < 1e-4);
  }
  const Adapter saved = must(open_adapter(folder_of("tied_saved_head"), base));
  CHECK(saved.matrices() == 1);
  CHECK(saved.pairs() == 1);
  CHECK(largest_difference(logits_of(with(base, {{saved, 0.0F}}), kIds), none) > 0.05);
}

TEST_CASE("of two adapters that replace a matrix the later counts, and pairs add to it") {
  const Model base = must(open_any(folder_of("tied")));
  const Adapter head = must(open_adapter(folder_of("tied_saved_head"), base));
  const Adapter kept = must(open_adapter(folder_of("tied_kept"), base));
  const Adapter pair = must(open_adapter(folder_of("tied_head"), base));
  const auto logits = [&](const std::vector<AdapterUse>& uses) {
    return logits_of(with(base, uses), kIds);
  };
  const auto one = logits({{head}, {pair}}), other = logits({{pair}, {head}});
  CHECK(largest_difference(one, other) < 1e-5);
  CHECK(largest_difference(one, logits({{head}})) > 0.05);
  CHECK(largest_difference(logits({{head}, {kept}}), logits({{kept}, {head}})) > 0.05);
  const TempFolder folder;
  const Model both = baked(folder_of("tied"),
                           {{folder_of("tied_saved_head"), 1.0F}, {folder_of("tied_head"), 0.5F}},
                           folder.file("both.quern"));
  CHECK(largest_difference(logits_of(both, kIds), logits({{head}, {pair, 0.5F}})) < kTolerance);
}

TEST_CASE("adapters of embeddings and heads work beside a quantized base") {
  const TempFolder folder;
  must(convert(folder_of("tied"), folder.file("q8.quern"), plain_options("q8")));
  const Model base = must(Model::open(folder.file("q8.quern")));
  for (const Row& row : kDecoders) {
    if (std::string_view(row.base) != "tied") continue;
    CAPTURE(row.name);
    const Adapter adapter = must(open_adapter(folder_of(row.name), base));
    const auto found = logits_of(with(base, {{adapter}}), kIds);
    CHECK(largest_difference(found, golden_logits(row.name)) < 0.15);
  }
}

TEST_CASE("a classifier's head that was saved whole gives PEFT's labels") {
  const Model base = must(open_any(folder_of("labels")));
  const Adapter adapter = must(open_adapter(folder_of("labels_saved"), base));
  CHECK(adapter.matrices() == 1);
  CHECK(adapter.vectors() == 1);
  const auto labels = [](const Model& model) {
    Encoder encoder = must(Encoder::create(model));
    std::vector<float> logits;
    const EncoderInput input{kIds, {}};
    REQUIRE(encoder
                .run({&input, 1},
                     [&](std::size_t, const EncoderOutput& output) -> Status {
                       logits.assign(output.logits.begin(), output.logits.end());
                       return {};
                     })
                .ok());
    return logits;
  };
  const std::vector<float> want = golden_logits("labels_saved");
  CHECK(largest_difference(labels(with(base, {{adapter}})), want) < kTolerance);
  CHECK(largest_difference(labels(base), want) > 0.05);
  const TempFolder folder;
  const Model one =
      baked(folder_of("labels"), {{folder_of("labels_saved"), 1.0F}}, folder.file("baked.quern"));
  CHECK(largest_difference(labels(one), want) < kTolerance);
}

TEST_CASE("an adapter of other embeddings or heads is refused with both shapes") {
  const auto llama = golden("llama3");
  if (!llama) return;
  const Model other = must(open_any(*llama));
  for (const char* name : {"tied_saved_head", "tied_saved_embedding", "untied_both", "tied_tokens",
                           "tied_embedding", "tied_head"}) {
    CAPTURE(name);
    const auto adapter = open_adapter(folder_of(name), other);
    REQUIRE_FALSE(adapter.ok());
    CHECK(adapter.error().code == ErrorCode::kMismatch);
    CHECK_FALSE(adapter.error().field.empty());
    CHECK_FALSE(adapter.error().expected.empty());
    CHECK_FALSE(adapter.error().found.empty());
  }
  const Model base = must(open_any(folder_of("tied")));
  const auto labels = open_adapter(folder_of("labels_saved"), base);
  REQUIRE_FALSE(labels.ok());
  CHECK(labels.error().code == ErrorCode::kMismatch);
}

TEST_CASE("rows for tokens need their ids, inside the vocabulary") {
  const Model base = must(open_any(folder_of("tied")));
  for (const char* ids : {"null", "[3]", "[3, 24]", "[3, -1]", R"({"lm_head": [3, 20]})"}) {
    CAPTURE(ids);
    const TempFolder folder;
    std::string settings = read_bytes(folder_of("tied_tokens") + "/adapter_config.json");
    const std::size_t at = settings.find("\"trainable_token_indices\":");
    REQUIRE(at != std::string::npos);
    const std::size_t end = settings.find(']', at) + 1;
    settings.replace(at, end - at, std::string("\"trainable_token_indices\": ") + ids);
    write_bytes(folder.file("adapter_config.json"), settings);
    write_bytes(folder.file("adapter_model.safetensors"),
                read_bytes(folder_of("tied_tokens") + "/adapter_model.safetensors"));
    CHECK_FALSE(open_adapter(folder.path(), base).ok());
  }
}

}  // namespace quern::convert::test
