#include "convert/encoding_offers.h"

#include <algorithm>

#include "convert/parallel.h"

namespace quern::convert {
namespace {

/// Panels of a tensor from which its errors are estimated.
constexpr std::int64_t kSampledPanels = 12;

/// One panel of one matrix, and what it adds to the sums.
struct Sample {
  const MatrixJob* matrix;
  std::int64_t panel;
  double square = 0;           ///< ‖W‖²
  std::vector<double> errors;  ///< ‖W − V‖², one per encoding.
};

std::vector<Sample> spread_samples(const TensorJob& job) {
  std::vector<std::pair<const MatrixJob*, std::int64_t>> all;
  for (const MatrixJob& matrix : job.matrices) {
    for (std::int64_t panel = 0; panel < matrix.panels(); ++panel) all.emplace_back(&matrix, panel);
  }
  const auto total = static_cast<std::int64_t>(all.size());
  const std::int64_t count = std::min(total, kSampledPanels);
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& [matrix, panel] = all[static_cast<std::size_t>(i * total / count)];
    samples.push_back({matrix, panel, 0, {}});
  }
  return samples;
}

/// The values of one panel as the output would have them in `encoding`.
Result<std::vector<float>> panel_values(const MatrixJob& matrix, std::int64_t panel,
                                        Encoding encoding) {
  MatrixJob job = matrix;
  job.to = encoding;
  job.layout = Layout::kPanel16;
  AlignedBytes bytes(job.panel_bytes(panel));
  PanelEncoder encoder(job);
  QUERN_CHECK(encoder.encode(panel, bytes.data()));
  std::vector<float> values(static_cast<std::size_t>(quant::kPanelRows * job.cols));
  quant::find_ops(encoding)->dequantize_panel(bytes.data(), job.cols, values.data());
  return values;
}

Status take_sample(Sample& sample, std::span<const Encoding> encodings) {
  QUERN_TRY(exact, panel_values(*sample.matrix, sample.panel, Encoding::kF32));
  for (const float value : exact) {
    sample.square += static_cast<double>(value) * static_cast<double>(value);
  }
  for (const Encoding encoding : encodings) {
    QUERN_TRY(stored, panel_values(*sample.matrix, sample.panel, encoding));
    double error = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      const double difference = static_cast<double>(exact[i]) - static_cast<double>(stored[i]);
      error += difference * difference;
    }
    sample.errors.push_back(error);
  }
  return {};
}

/// Of the whole tensor in a file of `output`'s kind.
std::uint64_t bytes_in(const TensorJob& job, Encoding encoding, OutputFormat output) {
  TensorJob other = job;
  for (MatrixJob& matrix : other.matrices) {
    matrix.to = encoding;
    matrix.layout = output == OutputFormat::kGguf ? Layout::kPlain : Layout::kPanel16;
  }
  return other.bytes();
}

}  // namespace

std::vector<Encoding> offered_encodings(OutputFormat output) {
  const RowFormat wanted =
      output == OutputFormat::kQuern ? RowFormat::kQ8Rotated : RowFormat::kQ8Group32;
  std::vector<Encoding> offered;
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    const quant::EncodingOps* ops = quant::find_ops(info->id);
    if (info->rows == wanted && ops != nullptr && ops->quantize_panel != nullptr) {
      offered.push_back(info->id);
    }
  }
  return offered;
}

Result<TensorOffers> make_offers(const TensorJob& job, OutputFormat output, Executor& executor) {
  const MatrixJob& first = job.matrices.front();
  std::vector<Encoding> encodings;
  for (const Encoding wanted : offered_encodings(output)) {
    QUERN_TRY(choice,
              choose_encoding({.keep = false, .target = wanted}, first.from, first.cols, output));
    const bool known = std::count(encodings.begin(), encodings.end(), choice.encoding) != 0;
    if (!known && choice.encoding != first.from) encodings.push_back(choice.encoding);
  }
  std::vector<Sample> samples = spread_samples(job);
  QUERN_CHECK(run_parallel(executor, samples.size(),
                           [&](std::size_t i, int) { return take_sample(samples[i], encodings); }));
  double square = 0;
  for (const Sample& sample : samples) square += sample.square;
  TensorOffers offers{job.name, {}};
  for (std::size_t e = 0; e < encodings.size(); ++e) {
    double error = 0;
    for (const Sample& sample : samples) error += sample.errors[e];
    offers.offers.push_back(
        {encodings[e], bytes_in(job, encodings[e], output), square > 0 ? error / square : 0.0});
  }
  const auto own = choose_encoding({}, first.from, first.cols, output);
  if (own.ok() && own->encoding == first.from) {
    offers.offers.push_back({first.from, bytes_in(job, first.from, output), 0.0});
  }
  return offers;
}

}  // namespace quern::convert
