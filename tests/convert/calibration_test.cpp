// Quantizing by what the model was seen to do: `quantize --calibrate`.
#if defined(QUERN_WITH_OPENBLAS)
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "convert/aligned_bytes.h"
#include "convert/convert.h"
#include "convert/error_feedback.h"
#include "convert/linear_algebra.h"
#include "fixtures.h"
#include "formats/json.h"
#include "formats/json_value.h"

namespace quern::convert::test {
namespace {

/// Inputs whose columns have something to do with each other, and their moments.
MomentMatrix moments_of_correlated(std::int64_t cols, std::int64_t rows) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  constexpr int kSources = 12;
  std::vector<float> mix(static_cast<std::size_t>(cols * kSources));
  for (float& value : mix) value = normal(random);
  MomentMatrix moments;
  moments.cols = cols;
  moments.rows = rows;
  moments.values.resize(static_cast<std::size_t>(cols * cols));
  std::vector<float> x(static_cast<std::size_t>(cols));
  for (std::int64_t row = 0; row < rows; ++row) {
    float sources[kSources];
    for (float& source : sources) source = normal(random);
    for (std::int64_t k = 0; k < cols; ++k) {
      x[static_cast<std::size_t>(k)] = 0.5F * normal(random);
      for (int s = 0; s < kSources; ++s)
        x[static_cast<std::size_t>(k)] +=
            sources[s] * mix[static_cast<std::size_t>(k * kSources + s)];
    }
    for (std::int64_t i = 0; i < cols; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        moments.values[static_cast<std::size_t>(i * cols + j)] +=
            x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(j)];
      }
    }
  }
  return moments;
}

/// Σ row·M·rowᵀ.
double output_square(const MomentMatrix& moments, const std::vector<float>& rows16) {
  double sum = 0;
  for (auto row = rows16.begin(); row != rows16.end(); row += moments.cols) {
    for (std::int64_t i = 0; i < moments.cols; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const auto m =
            static_cast<double>(moments.values[static_cast<std::size_t>(i * moments.cols + j)]);
        sum += (i == j ? 1 : 2) * m * static_cast<double>(row[i]) * static_cast<double>(row[j]);
      }
    }
  }
  return sum;
}

/// Relative error of the outputs of `rows16` stored as `panel`.
double output_error(const MomentMatrix& moments, Encoding encoding,
                    const std::vector<float>& rows16, const std::byte* panel) {
  std::vector<float> change(rows16.size());
  quant::find_ops(encoding)->dequantize_panel(panel, moments.cols, change.data());
  for (std::size_t i = 0; i < change.size(); ++i) change[i] = rows16[i] - change[i];
  return std::sqrt(output_square(moments, change) / output_square(moments, rows16));
}

constexpr const char* kModels[] = {"llama3", "mixtral", "mamba", "bert", "bart"};

}  // namespace

TEST_CASE("error feedback moves the outputs less than fitting the weights does") {
  struct Row {
    Encoding encoding;
    double least, most;  ///< Error of the outputs against that of the plain fit.
  };
  const linear_algebra::OneThread one_thread;
  for (const Row& row :
       {Row{Encoding::kQR3, 0.1, 0.6}, Row{Encoding::kQR4, 0.1, 0.6}, Row{Encoding::kQR5, 0.1, 0.6},
        Row{Encoding::kQR6, 0.1, 0.6}, Row{Encoding::kQR8, 0.1, 0.6}}) {
    for (const std::int64_t cols : {192, 200}) {
      CAPTURE(find_encoding(row.encoding)->name);
      CAPTURE(cols);
      const MomentMatrix moments = moments_of_correlated(cols, 1000);
      const auto known = ErrorFeedback::create(moments);
      REQUIRE(known != nullptr);
      const std::vector<float> rows16 = weights(static_cast<std::size_t>(16 * cols), 5);
      const auto bytes =
          *panel_bytes(*find_encoding(row.encoding), static_cast<std::uint64_t>(cols));
      AlignedBytes plain(bytes), fed(bytes);
      quant::find_ops(row.encoding)->quantize_panel(rows16.data(), cols, {}, plain.data());
      const OutputSquares said =
          known->quantize_panel(row.encoding, rows16.data(), cols, fed.data());
      const double found = output_error(moments, row.encoding, rows16, fed.data());
      // What it says is its own measure, damped a little.
      CHECK(std::sqrt(said.error / said.square) == doctest::Approx(found).epsilon(0.5));
      const double ratio = found / output_error(moments, row.encoding, rows16, plain.data());
      CAPTURE(found);
      CHECK(ratio < row.most);
      CHECK(ratio > row.least);
    }
  }
}

TEST_CASE("error feedback is the same for weights of any size") {
  const linear_algebra::OneThread one_thread;
  constexpr std::int64_t kCols = 192;
  const MomentMatrix moments = moments_of_correlated(kCols, 1000);
  const auto known = ErrorFeedback::create(moments);
  REQUIRE(known != nullptr);
  const std::vector<float> rows16 = weights(static_cast<std::size_t>(16 * kCols), 5);
  for (const Encoding encoding : {Encoding::kQR3, Encoding::kQR4, Encoding::kQR8}) {
    CAPTURE(find_encoding(encoding)->name);
    AlignedBytes panel(*panel_bytes(*find_encoding(encoding), static_cast<std::uint64_t>(kCols)));
    std::vector<float> usual(rows16.size()), scaled(rows16.size()), stored(rows16.size());
    known->quantize_panel(encoding, rows16.data(), kCols, panel.data());
    quant::find_ops(encoding)->dequantize_panel(panel.data(), kCols, usual.data());
    // Squares of the first two vanish or overflow in float32.
    for (const int power : {-85, 110, 3}) {
      CAPTURE(power);
      for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = std::ldexp(rows16[i], power);
      const auto said = known->quantize_panel(encoding, scaled.data(), kCols, panel.data());
      quant::find_ops(encoding)->dequantize_panel(panel.data(), kCols, stored.data());
      for (float& value : stored) value = std::ldexp(value, -power);
      CHECK(stored == usual);
      CHECK(said.square > 0);
      CHECK(said.error > 0);
      CHECK(said.error < 0.1 * said.square);
    }
  }
}

TEST_CASE("nothing is learned from inputs that say nothing") {
  MomentMatrix none;
  none.cols = 64;
  none.values.resize(64 * 64);
  CHECK(ErrorFeedback::create(none) == nullptr);
  none.rows = 5;
  CHECK(ErrorFeedback::create(none) == nullptr);
  none.values[0] = std::nanf("");
  CHECK(ErrorFeedback::create(none) == nullptr);
}

TEST_CASE("a calibrated file is the same whatever the number of threads, and says its errors") {
  const TempFolder folder;
  write_bytes(folder.file("text"), some_text(20000));
  for (const char* model : kModels) {
    const auto source = reading_golden(folder, model);
    if (!source) return;
    for (const std::string output : {"a.quern", "a.gguf"}) {
      if (output == "a.gguf" && std::string_view(model) != "llama3") continue;
      CAPTURE(model);
      CAPTURE(output);
      ConvertOptions options = plain_options(output == "a.gguf" ? "q4_0" : "qr4");
      std::string first;
      const auto plain = convert(*source, folder.file(output), options);
      REQUIRE_MESSAGE(plain.ok(), plain.error().describe());
      const std::string uncalibrated = read_bytes(folder.file(output));
      options.calibration_text = folder.file("text");
      for (const int threads : {1, 2, 3}) {
        options.threads = threads;
        const auto report = convert(*source, folder.file(output), options);
        REQUIRE_MESSAGE(report.ok(), report.error().describe());
        const std::string bytes = read_bytes(folder.file(output));
        if (first.empty()) first = bytes;
        CHECK(bytes == first);
        CHECK(bytes != uncalibrated);
        std::size_t observed = 0;
        for (const PlannedTensor& tensor : report->plan.tensors) {
          const bool quantized = find_encoding(tensor.encoding)->rows != RowFormat::kF32;
          if (quantized) CHECK(tensor.relative_error.has_value());
          if (tensor.relative_error) CHECK(*tensor.relative_error < 0.25);
          if (!tensor.weighted_error) continue;
          ++observed;
          CHECK(*tensor.weighted_error > 0);
          CHECK(*tensor.weighted_error < 0.25);
        }
        CHECK(observed >= 7);
      }
    }
  }
}

TEST_CASE("both halves of an encoder–decoder are calibrated, every matrix of them") {
  const TempFolder folder;
  write_bytes(folder.file("text"), some_text(20000));
  for (const char* model : {"bart", "t5", "t5_gated"}) {
    CAPTURE(model);
    const auto source = reading_golden(folder, model);
    if (!source) return;
    ConvertOptions options = plain_options("q4");
    options.calibration_text = folder.file("text");
    const auto report = convert(*source, folder.file("a.quern"), options);
    REQUIRE_MESSAGE(report.ok(), report.error().describe());
    std::size_t encoder = 0, decoder = 0, cross = 0;
    for (const PlannedTensor& tensor : report->plan.tensors) {
      if (find_encoding(tensor.encoding)->rows == RowFormat::kF32) continue;
      if (tensor.name == "embed") continue;  // Multiplied only where the output has no own matrix.
      CAPTURE(tensor.name);
      REQUIRE(tensor.weighted_error.has_value());
      CHECK(*tensor.weighted_error > 0);
      CHECK(*tensor.weighted_error < 0.25);
      ++(tensor.name.starts_with("encoder.") ? encoder : decoder);
      if (tensor.name.find("cross_") != std::string::npos) ++cross;
    }
    CHECK(encoder >= 12);
    CHECK(decoder >= 20);
    CHECK(cross == 8);
  }
}

TEST_CASE(
    "inputs with too many moments are calibrated by columns, and a warning names the matrix") {
  const TempFolder folder;
  write_bytes(folder.file("text"), some_text(20000));
  for (const char* model : {"llama3", "mixtral"}) {
    CAPTURE(model);
    const auto source = reading_golden(folder, model);
    if (!source) return;
    ConvertOptions options = plain_options("qr4");
    options.calibration_text = folder.file("text");
    const auto full = convert(*source, folder.file("full.quern"), options);
    REQUIRE_MESSAGE(full.ok(), full.error().describe());
    options.most_moment_bytes = 0;
    const auto narrow = convert(*source, folder.file("narrow.quern"), options);
    REQUIRE_MESSAGE(narrow.ok(), narrow.error().describe());
    std::size_t warned = 0;
    for (std::size_t i = 0; i < full->plan.tensors.size(); ++i) {
      const PlannedTensor& tensor = full->plan.tensors[i];
      CAPTURE(tensor.name);
      const auto tells = [&](const ConvertReport& report) {
        const auto& all = report.plan.warnings;
        return std::count_if(all.begin(), all.end(), [&](const std::string& warning) {
          return warning.starts_with(tensor.name + " is calibrated column by column");
        });
      };
      CHECK(tells(*full) == 0);
      CHECK(tells(*narrow) == (tensor.weighted_error ? 1 : 0));
      if (!tensor.weighted_error) continue;
      ++warned;
      REQUIRE(narrow->plan.tensors[i].weighted_error.has_value());
      CHECK(*narrow->plan.tensors[i].weighted_error > 0);
    }
    CHECK(warned >= 7);
    CHECK(read_bytes(folder.file("full.quern")) != read_bytes(folder.file("narrow.quern")));
  }
}

TEST_CASE("a preset with a text is a choice, of no more bits than its encoding everywhere") {
  const TempFolder folder;
  write_bytes(folder.file("text"), some_text(20000));
  for (const char* model : kModels) {
    CAPTURE(model);
    const auto source = reading_golden(folder, model);
    if (!source) return;
    ConvertOptions options = plain_options("qr5");
    options.calibration_text = folder.file("text");
    const auto uniform = convert(*source, folder.file("uniform.quern"), options);
    REQUIRE_MESSAGE(uniform.ok(), uniform.error().describe());
    CHECK(uniform->quality_json.find("\"choice\"") == std::string::npos);
    options.encoding = "q5";
    const auto chosen = convert(*source, folder.file("chosen.quern"), options);
    REQUIRE_MESSAGE(chosen.ok(), chosen.error().describe());
    CHECK(chosen->plan.bits_per_weight <= uniform->plan.bits_per_weight);
    CHECK(chosen->plan.bits_per_weight > uniform->plan.bits_per_weight - 1);
    CHECK(chosen->quality_json.find("\"choice\"") != std::string::npos);
    // Without a text it is a choice too, where there is time.
    options.calibration_text.clear();
    options.observe = true;
    const auto observed = convert(*source, folder.file("observed.quern"), options);
    REQUIRE_MESSAGE(observed.ok(), observed.error().describe());
    CHECK(observed->plan.bits_per_weight <= uniform->plan.bits_per_weight);
    CHECK(observed->quality_json.find("\"choice\"") != std::string::npos);
    // Else its encoding everywhere, at once.
    options.observe = false;
    const auto plain = convert(*source, folder.file("plain.quern"), options);
    REQUIRE_MESSAGE(plain.ok(), plain.error().describe());
    CHECK(plain->quality_json.find("\"choice\"") == std::string::npos);
    CHECK(plain->plan.output_bytes <= uniform->plan.output_bytes);
  }
}

TEST_CASE("without a text decoders are calibrated on what they write, encoders are not") {
  const TempFolder folder;
  for (const char* model : kModels) {
    CAPTURE(model);
    const auto source = golden(model);  // No tokenizer is needed.
    if (!source) return;
    ConvertOptions options = plain_options("qr4");
    const auto plain = convert(*source, folder.file("plain.quern"), options);
    REQUIRE_MESSAGE(plain.ok(), plain.error().describe());
    options.observe = true;
    std::string first;
    for (const int threads : {1, 2, 3}) {
      options.threads = threads;
      const auto observed = convert(*source, folder.file("a.quern"), options);
      REQUIRE_MESSAGE(observed.ok(), observed.error().describe());
      const bool encoder = std::string_view(model) == "bert";
      const bool told = observed->quality_json.find("\"own_words\":true") != std::string::npos;
      CHECK(told == !encoder);
      const std::string bytes = read_bytes(folder.file("a.quern"));
      CHECK((bytes == read_bytes(folder.file("plain.quern"))) == encoder);
      if (first.empty()) first = bytes;
      CHECK(bytes == first);
    }
  }
}

TEST_CASE("of the smallest encoding there is nothing to choose") {
  const TempFolder folder;
  const auto source = golden("llama3");
  if (!source) return;
  ConvertOptions options = plain_options("q3");
  options.observe = true;
  const auto report = convert(*source, folder.file("a.quern"), options);
  REQUIRE_MESSAGE(report.ok(), report.error().describe());
  CHECK(report->quality_json.find("\"choice\"") == std::string::npos);
  CHECK(report->quality_json.find("\"own_words\":true") != std::string::npos);
  for (const PlannedTensor& tensor : report->plan.tensors) {
    if (tensor.relative_error) CHECK(tensor.encoding == Encoding::kQR3);
  }
}

TEST_CASE("a text that cannot serve is refused, and nothing is left behind") {
  const TempFolder folder;
  const auto source = reading_golden(folder, "llama3");
  const auto mute = golden("llama3");
  if (!source || !mute) return;
  write_bytes(folder.file("short"), some_text(100));
  write_bytes(folder.file("empty"), "");
  write_bytes(folder.file("text"), some_text(20000));
  struct Row {
    std::string source, text;
    ErrorCode code;
  };
  const Row rows[] = {{*source, folder.file("short"), ErrorCode::kInvalidArgument},
                      {*source, folder.file("empty"), ErrorCode::kInvalidArgument},
                      {*source, folder.file("absent"), ErrorCode::kIo},
                      {*mute, folder.file("text"), ErrorCode::kMissing}};
  const auto before = folder.names();
  for (const Row& row : rows) {
    ConvertOptions options = plain_options("q4");
    options.calibration_text = row.text;
    const auto refused = convert(row.source, folder.file("a.quern"), options);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == row.code);
    CHECK(refused.error().file == row.text);
    CHECK(folder.names() == before);
  }
}

}  // namespace quern::convert::test
#endif
