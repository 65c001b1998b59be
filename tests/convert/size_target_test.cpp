// Files of a wanted size: what `quantize --target-size` and `--target-bpw` write.
#include <doctest/doctest.h>

#include <set>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/json.h"
#include "formats/json_value.h"

namespace quern::convert::test {
namespace {

std::uint64_t tensor_bytes_of(const ConvertReport& report) {
  std::uint64_t sum = 0;
  for (const PlannedTensor& tensor : report.plan.tensors) sum += tensor.bytes;
  return sum;
}

/// The number in what a refused target says could be had.
double least_of(const Error& error) {
  return std::stod(error.expected.substr(error.expected.find_first_of("0123456789")));
}

/// Decoder, mixture, recurrent, encoder: each is measured its own way.
constexpr const char* kModels[] = {"llama3", "mixtral", "mamba", "bert"};

}  // namespace

TEST_CASE("a wanted number of bits is kept and used") {
  for (const char* model : kModels) {
    CAPTURE(model);
    const auto source = golden(model);
    if (!source) return;
    const TempFolder folder;
    ConvertOptions options;
    options.self_test = false;
    options.target_bits = 0.1;
    const auto refused = convert(*source, folder.file("a.quern"), options);
    REQUIRE_FALSE(refused.ok());
    const double least = least_of(refused.error());
    double damage = 1e300;
    for (const double bits : {least + 0.4, least + 0.9, least + 1.4}) {
      CAPTURE(bits);
      options.target_bits = bits;
      const auto report = convert(*source, folder.file("a.quern"), options);
      REQUIRE_MESSAGE(report.ok(), report.error().describe());
      CHECK(report->plan.bits_per_weight <= bits);
      const auto quality = formats::parse_json(report->quality_json, "");
      REQUIRE(quality.ok());
      const double found = (*quality)["choice"]["damage"].number();
      CHECK(found < damage);
      damage = found;
      std::set<Encoding> used;
      for (const PlannedTensor& tensor : report->plan.tensors) used.insert(tensor.encoding);
      CHECK(used.size() > 2);  // The vectors' f32 and at least two choices.
    }
  }
}

TEST_CASE("a file of a wanted size is not larger, in either format") {
  const auto source = golden("llama3");
  if (!source) return;
  for (const std::string output : {"a.quern", "a.gguf"}) {
    CAPTURE(output);
    const TempFolder folder;
    const auto plain =
        convert(*source, folder.file(output), plain_options(output == "a.gguf" ? "q8_0" : "q8"));
    REQUIRE(plain.ok());
    ConvertOptions options;
    options.target_bytes = plain->plan.output_bytes - 1;
    const auto report = convert(*source, folder.file("b" + output), options);
    REQUIRE_MESSAGE(report.ok(), report.error().describe());
    const std::uint64_t bytes = read_bytes(folder.file("b" + output)).size();
    CHECK(bytes == report->plan.output_bytes);
    CHECK(bytes <= options.target_bytes);
    CHECK(tensor_bytes_of(*report) < tensor_bytes_of(*plain));
  }
}

TEST_CASE("a target that cannot be met names the smallest that can") {
  const auto source = golden("llama3");
  if (!source) return;
  const TempFolder folder;
  for (const bool by_size : {true, false}) {
    ConvertOptions options;
    if (by_size)
      options.target_bytes = 1000;
    else
      options.target_bits = 0.5;
    const auto refused = convert(*source, folder.file("a.quern"), options);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == ErrorCode::kOutOfRange);
    CHECK(folder.names().empty());
    // The size that it names can be had.
    const double least = least_of(refused.error());
    if (by_size)
      options.target_bytes = static_cast<std::uint64_t>(least);
    else
      options.target_bits = least;
    const auto made = convert(*source, folder.file("a.quern"), options);
    CHECK_MESSAGE(made.ok(), made.error().describe());
    std::filesystem::remove(folder.file("a.quern"));
  }
}

TEST_CASE("where there is room for a float source's own bits they stay, and nothing is measured") {
  const auto source = golden("llama3");
  if (!source) return;
  const TempFolder folder;
  const auto steps_of = [&](ConvertOptions options, const char* output) {
    int steps = 0;
    options.progress = [&](std::uint64_t, std::uint64_t) { return ++steps > 0; };
    const auto report = convert(*source, folder.file(output), options);
    REQUIRE_MESSAGE(report.ok(), report.error().describe());
    CHECK(report->quality_json.empty());
    return steps;
  };
  ConvertOptions options = plain_options();
  const int plain = steps_of(options, "plain.quern");
  options.target_bits = 64;
  CHECK(steps_of(options, "a.quern") == plain);
  const Model kept = must(Model::open(folder.file("a.quern")));
  CHECK(kept.weights_hash() == must(Model::open(folder.file("plain.quern"))).weights_hash());
}

TEST_CASE("the same choice comes out whatever the number of threads") {
  const auto source = golden("llama3");
  if (!source) return;
  const TempFolder folder;
  std::string first;
  for (const int threads : {1, 2, 3}) {
    ConvertOptions options;
    options.threads = threads;
    options.target_bits = 5.0;
    REQUIRE(convert(*source, folder.file("a.quern"), options).ok());
    const std::string bytes = read_bytes(folder.file("a.quern"));
    if (first.empty()) first = bytes;
    CHECK(bytes == first);
  }
}

}  // namespace quern::convert::test
