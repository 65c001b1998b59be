#include "convert/encoding_offers.h"

#include <algorithm>

#include "convert/parallel.h"

namespace quern::convert {
namespace {

/// Panels of a tensor from which its errors are estimated.
constexpr std::int64_t kSampledPanels = 12;

/// One panel of one matrix, and what each encoding changes in it.
struct Sample {
  const MatrixJob* matrix;
  std::int64_t panel;
  std::vector<QuantizationError> errors;
};

/// In the order of matrices.
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
    samples.push_back({matrix, panel, {}});
  }
  return samples;
}

/// \param calibration may be null.
Status take_sample(Sample& sample, std::span<const EncodingOffer> offers,
                   const MatrixCalibration* calibration) {
  for (const EncodingOffer& offer : offers) {
    MatrixJob job = *sample.matrix;
    job.to = offer.encoding;
    job.layout = Layout::kPanel16;
    AlignedBytes bytes(job.panel_bytes(sample.panel));
    PanelEncoder encoder(job, calibration);
    QUERN_CHECK(encoder.encode(sample.panel, bytes.data()));
    sample.errors.push_back(encoder.error(bytes.data()));
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
  // Of containers also two that round what they are multiplied by less, or not at all.
  const auto precise = [&](Encoding id) {
    return output == OutputFormat::kQuern && (id == Encoding::kQ8_0 || id == Encoding::kBF16);
  };
  std::vector<Encoding> offered;
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    const quant::EncodingOps* ops = quant::find_ops(info->id);
    if ((info->rows == wanted || precise(info->id)) && ops != nullptr &&
        ops->quantize_panel != nullptr) {
      offered.push_back(info->id);
    }
  }
  return offered;
}

Encoding smallest_encoding(OutputFormat output) {
  constexpr std::uint64_t kCols = 1024;  // Whole blocks of all of them.
  const auto bytes = [](Encoding id) { return panel_bytes(*find_encoding(id), kCols).value_or(0); };
  const std::vector<Encoding> offered = offered_encodings(output);
  return *std::min_element(offered.begin(), offered.end(),
                           [&](Encoding a, Encoding b) { return bytes(a) < bytes(b); });
}

Result<TensorOffers> list_offers(const TensorJob& job, OutputFormat output) {
  const MatrixJob& first = job.matrices.front();
  TensorOffers offers{job.name, {}};
  const auto add = [&](Encoding encoding) {
    offers.offers.push_back({encoding, bytes_in(job, encoding, output), 0.0});
  };
  for (const Encoding wanted : offered_encodings(output)) {
    QUERN_TRY(choice,
              choose_encoding({.keep = false, .target = wanted}, first.from, first.cols, output));
    const bool known =
        std::any_of(offers.offers.begin(), offers.offers.end(),
                    [&](const EncodingOffer& offer) { return offer.encoding == choice.encoding; });
    if (!known && choice.encoding != first.from) add(choice.encoding);
  }
  const auto own = choose_encoding({}, first.from, first.cols, output);
  if (own.ok() && own->encoding == first.from) add(first.from);
  return offers;
}

Status estimate_errors(const TensorJob& job, TensorOffers& offers, Executor& executor,
                       Calibration* calibration, ProgressMeter& meter) {
  std::vector<Sample> samples = spread_samples(job);
  for (std::size_t first = 0, end = 0; first < samples.size(); first = end) {
    const MatrixJob* matrix = samples[first].matrix;
    while (end < samples.size() && samples[end].matrix == matrix) ++end;
    std::shared_ptr<const MatrixCalibration> known;
    if (calibration != nullptr) {
      MatrixJob changed = *matrix;
      changed.to = offers.offers.front().encoding;
      QUERN_TRY(found, calibration->of(changed, meter));
      known = std::move(found);
    }
    QUERN_CHECK(run_parallel(executor, end - first, [&](std::size_t i, int) {
      return take_sample(samples[first + i], offers.offers, known.get());
    }));
  }
  for (std::size_t e = 0; e < offers.offers.size(); ++e) {
    QuantizationError sum;
    for (const Sample& sample : samples) sum += sample.errors[e];
    offers.offers[e].damage = sum.relative_square();
  }
  return {};
}

}  // namespace quern::convert
