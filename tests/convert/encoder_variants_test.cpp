// Encoders with settings that no golden has, against transformers' hidden states.
// encoder_variants/make.py made the checkpoints.
#include <doctest/doctest.h>

#include "fixtures.h"
#include "formats/safetensors_reader.h"
#include "quern/encoder.h"

namespace quern::convert::test {
namespace {

/// The largest difference from transformers' states of both texts; they have a deviation of about
/// one.
double difference(const std::string& folder, const Model& model) {
  const auto golden = must(formats::SafetensorsFile::open(folder + "/golden.safetensors"));
  std::vector<std::vector<TokenId>> ids;
  for (const char* name : {"ids.0", "ids.1"}) {
    const auto values = values_of<std::int64_t>(golden, name);
    ids.emplace_back(values.begin(), values.end());
  }
  const std::vector<EncoderInput> inputs{{ids[0], {}}, {ids[1], {}}};
  double most = 0;
  Encoder encoder = must(Encoder::create(model));
  const Status ran = encoder.run(inputs, [&](std::size_t i, const EncoderOutput& output) {
    const auto want = values_of<float>(golden, "states." + std::to_string(i));
    const std::vector<float> got(output.hidden.begin(), output.hidden.end());
    REQUIRE(got.size() == want.size());
    most = std::max(most, largest_difference(got, want));
    return Status();
  });
  REQUIRE(ran.ok());
  return most;
}

}  // namespace

TEST_CASE("heads of a Nomic BERT may be wider than the model shared out") {
  const std::string folder = fixture("../encoder_variants/nomic_heads");
  CHECK(difference(folder, must(open_any(folder))) < 2e-5);
  const TempFolder temp;
  must(convert(folder, temp.file("a.quern"), plain_options()));
  CHECK(difference(folder, must(Model::open(temp.file("a.quern")))) < 2e-5);
  const auto gguf = convert(folder, temp.file("a.gguf"), plain_options());
  REQUIRE_FALSE(gguf.ok());
  CHECK(gguf.error().code == ErrorCode::kUnsupported);
  CHECK(gguf.error().field == "head_dim");
}

}  // namespace quern::convert::test
