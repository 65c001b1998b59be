// What the choice of encodings rests on: errors of the outputs, and what rounding inputs adds.
#include <doctest/doctest.h>

#include <numeric>

#include "convert/aligned_bytes.h"
#include "convert/convert.h"
#include "convert/error_feedback.h"
#include "convert/input_noise.h"
#include "fixtures.h"
#include "formats/json.h"
#include "formats/json_value.h"

namespace quern::convert::test {
namespace {

TEST_CASE("inputs lose little to 8 bits, and nothing where a product is in floats") {
  const auto source = golden("llama3");
  if (!source) return;
  ModelOptions options;
  auto executor = make_executor(2);
  REQUIRE(executor.ok());
  const std::shared_ptr<Executor> threads = std::move(*executor);
  options.executor = threads;
  const auto model = open_any(*source, options);
  REQUIRE_MESSAGE(model.ok(), model.error().describe());
  std::vector<TokenId> window(32);
  std::iota(window.begin(), window.end(), TokenId{3});
  const Progress progress;
  ProgressMeter meter(progress, 0);
  const auto noises = measure_input_noise(*model, {window, window}, threads, meter);
  REQUIRE_MESSAGE(noises.ok(), noises.error().describe());
  for (const char* name : {"layers.0.wq", "layers.0.wv", "layers.0.wo", "layers.1.w_down"}) {
    CAPTURE(name);
    const auto found = noises->find(name);
    REQUIRE(found != noises->end());
    // A step of 1/127 of the largest of n Gaussian numbers, over √12.
    CHECK(found->second.rotated > 1e-5);
    CHECK(found->second.rotated < 5e-4);
    CHECK(found->second.grouped > 1e-5);
    CHECK(found->second.grouped < 5e-4);
    CHECK(found->second.of(RowFormat::kQ8Rotated) == found->second.rotated);
    CHECK(found->second.of(RowFormat::kQ8Group32) == found->second.grouped);
    CHECK(found->second.of(RowFormat::kF32) == 0);
  }
}

#if defined(QUERN_WITH_OPENBLAS)
TEST_CASE("a calibrated choice counts errors of the outputs") {
  const TempFolder folder;
  write_bytes(folder.file("text"), some_text(20000));
  for (const char* name : {"llama3", "mixtral", "bert"}) {
    CAPTURE(name);
    const auto source = reading_golden(folder, name);
    if (!source) return;
    ConvertOptions options;
    options.self_test = false;
    options.target_bits = 6.0;
    options.calibration_text = folder.file("text");
    const auto report = convert(*source, folder.file("a.quern"), options);
    REQUIRE_MESSAGE(report.ok(), report.error().describe());
    CHECK(report->plan.bits_per_weight <= options.target_bits);
    const auto quality = formats::parse_json(report->quality_json, "");
    REQUIRE(quality.ok());
    double weighted = 0, plain = 0;
    for (const formats::Json& tensor : (*quality)["tensors"]) {
      const formats::Json* sensitivity = tensor.find("sensitivity");
      const formats::Json* outputs = tensor.find("weighted_error");
      if (sensitivity == nullptr || outputs == nullptr) continue;
      const double error = tensor["relative_error"].number();
      weighted += sensitivity->number() * outputs->number() * outputs->number();
      plain += sensitivity->number() * error * error;
    }
    // The models are so small that nearly all panels were looked at.
    const double estimated = (*quality)["choice"]["damage"].number();
    CHECK(estimated > 0.5 * weighted);
    CHECK(estimated < 0.9 * plain);
  }
}

TEST_CASE(
    "a model of a wanted size that writes is calibrated on its own words, an encoder is not") {
  const TempFolder folder;
  for (const char* name : {"llama3", "bart", "bert"}) {
    CAPTURE(name);
    const auto source = golden(name);  // Without a tokenizer: no text is needed.
    if (!source) return;
    const bool decoder = std::string_view(name) != "bert";
    ConvertOptions options;
    options.self_test = false;
    options.target_bits = 6.5;
    std::string first;
    for (const int threads : {1, 3}) {
      options.threads = threads;
      const auto report = convert(*source, folder.file("a.quern"), options);
      REQUIRE_MESSAGE(report.ok(), report.error().describe());
      const auto quality = formats::parse_json(report->quality_json, "");
      REQUIRE(quality.ok());
      CHECK(formats::dump_json((*quality)["calibrated"]) == (decoder ? "true" : "false"));
      std::size_t observed = 0;
      for (const PlannedTensor& tensor : report->plan.tensors) {
        if (tensor.weighted_error) ++observed;
      }
      CHECK((observed >= 7) == decoder);
      const std::string bytes = read_bytes(folder.file("a.quern"));
      if (first.empty()) first = bytes;
      CHECK(bytes == first);
    }
  }
}

TEST_CASE("error feedback gives foreign encodings the weights of their columns") {
  constexpr std::int64_t kCols = 96;
  MomentMatrix moments;
  moments.cols = kCols;
  moments.rows = 1;
  moments.values.resize(static_cast<std::size_t>(kCols * kCols));
  std::vector<float> diagonal;
  for (std::int64_t k = 0; k < kCols; ++k) {
    diagonal.push_back(k % 2 == 0 ? 4.0F : 0.01F);
    moments.values[static_cast<std::size_t>(k * (kCols + 1))] = diagonal.back();
  }
  const auto known = ErrorFeedback::create(moments);
  REQUIRE(known != nullptr);
  const std::vector<float> rows16 = weights(static_cast<std::size_t>(16 * kCols), 5);
  for (const Encoding encoding : {Encoding::kQ4_0, Encoding::kQ8_0, Encoding::kBF16}) {
    CAPTURE(find_encoding(encoding)->name);
    const auto bytes = *panel_bytes(*find_encoding(encoding), static_cast<std::uint64_t>(kCols));
    AlignedBytes one(bytes), other(bytes);
    const auto said = known->quantize_panel(encoding, rows16.data(), kCols, one.data());
    const auto plain =
        ColumnWeights(diagonal).quantize_panel(encoding, rows16.data(), kCols, other.data());
    CHECK(std::equal(one.data(), one.data() + bytes, other.data()));
    CHECK(said.square == doctest::Approx(plain.square).epsilon(0.05));
    CHECK(said.error == doctest::Approx(plain.error).epsilon(0.1));
  }
}
#endif

}  // namespace
}  // namespace quern::convert::test
