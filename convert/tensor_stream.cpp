#include "convert/tensor_stream.h"

#include <algorithm>
#include <vector>

#include "convert/parallel.h"

namespace quern::convert {
namespace {

/// Output bytes that one piece aims at; every thread gets at least one panel of it.
constexpr std::uint64_t kPieceBytes = 4u << 20;

Status stream_matrix(const MatrixJob& job, Executor& executor, const WriteBytes& write,
                     ProgressMeter& meter, const MatrixCalibration* calibration,
                     QuantizationError* sum) {
  const std::uint64_t stride = job.panel_bytes(0);
  const std::int64_t wanted = std::max<std::int64_t>(
      executor.threads(),
      static_cast<std::int64_t>(kPieceBytes / std::max<std::uint64_t>(1, stride)));
  const std::int64_t per_piece = std::min(wanted, job.panels());
  const std::int64_t threads = executor.threads();

  std::vector<PanelEncoder> encoders;
  encoders.reserve(static_cast<std::size_t>(threads));
  for (std::int64_t i = 0; i < threads; ++i) encoders.emplace_back(job, calibration);
  AlignedBytes buffer(static_cast<std::uint64_t>(per_piece) * stride);
  std::vector<QuantizationError> errors(static_cast<std::size_t>(per_piece));

  const std::uint64_t source_bytes = job.source_bytes();
  std::uint64_t reported = 0;
  for (std::int64_t first = 0; first < job.panels(); first += per_piece) {
    const std::int64_t count = std::min(per_piece, job.panels() - first);
    const auto encode = [&](std::size_t i, int thread) -> Status {
      PanelEncoder& encoder = encoders[static_cast<std::size_t>(thread)];
      std::byte* out = buffer.data() + i * stride;
      QUERN_CHECK(encoder.encode(first + static_cast<std::int64_t>(i), out));
      if (sum != nullptr) errors[i] = encoder.error(out);
      return {};
    };
    QUERN_CHECK(run_parallel(executor, static_cast<std::size_t>(count), encode));
    for (std::int64_t i = 0; sum != nullptr && i < count; ++i)
      *sum += errors[static_cast<std::size_t>(i)];
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(count - 1) * stride + job.panel_bytes(first + count - 1);
    QUERN_CHECK(write({buffer.data(), bytes}));
    const bool last = first + count == job.panels();
    const auto share = static_cast<double>(first + count) / static_cast<double>(job.panels());
    const auto done =
        last ? source_bytes : static_cast<std::uint64_t>(static_cast<double>(source_bytes) * share);
    QUERN_CHECK(meter.advance(done - reported));
    reported = done;
  }
  return {};
}

}  // namespace

Status ProgressMeter::advance(std::uint64_t bytes) {
  done_ += bytes;
  if (!progress_ || progress_(std::min(done_, total_), total_)) return {};
  return Error(ErrorCode::kCancelled, "the conversion was cancelled");
}

Status stream_tensor(const TensorJob& job, Executor& executor, const WriteBytes& write,
                     ProgressMeter& meter, Calibration* calibration, QuantizationError* error) {
  for (const MatrixJob& matrix : job.matrices) {
    std::shared_ptr<const MatrixCalibration> known;
    if (calibration != nullptr) {
      QUERN_TRY(found, calibration->of(matrix, meter));
      known = std::move(found);
    }
    QUERN_CHECK(stream_matrix(matrix, executor, write, meter, known.get(), error));
  }
  return {};
}

}  // namespace quern::convert
