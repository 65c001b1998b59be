#include "convert/tensor_stream.h"

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

namespace quern::convert {
namespace {

/// Output bytes that one piece aims at; every thread gets at least one panel of it.
constexpr std::uint64_t kPieceBytes = 4u << 20;

/// Some neighbouring panels, encoded by all threads at once.
struct Piece {
  const MatrixJob* job;
  std::vector<PanelEncoder>* encoders;
  std::vector<std::optional<Error>>* errors;  ///< One per panel of the piece.
  std::byte* out;
  std::int64_t first, count;
};

/// Panels i, i + threads, … of the piece. Never throws.
void encode_share(const Piece& piece, int thread, int threads) noexcept {
  const std::uint64_t stride = piece.job->panel_bytes(0);
  for (std::int64_t i = thread; i < piece.count; i += threads) {
    auto& error = (*piece.errors)[static_cast<std::size_t>(i)];
    try {
      auto status = (*piece.encoders)[static_cast<std::size_t>(thread)].encode(
          piece.first + i, piece.out + static_cast<std::uint64_t>(i) * stride);
      if (!status.ok()) error = std::move(status).error();
    } catch (const std::bad_alloc&) {
      error = Error();
      error->code = ErrorCode::kOutOfMemory;
    }
  }
}

Status encode_piece(const Piece& piece, Executor& executor) {
  const auto work = [](void* context, int thread) {
    const Piece& p = *static_cast<const Piece*>(context);
    encode_share(p, thread, static_cast<int>(p.encoders->size()));
  };
  Piece copy = piece;
  if (piece.encoders->size() == 1) {
    work(&copy, 0);
  } else if (!executor.run(static_cast<int>(piece.encoders->size()), work, &copy)) {
    // So many threads could not be had: one does it all.
    for (int i = 0; i < static_cast<int>(piece.encoders->size()); ++i) work(&copy, i);
  }
  for (std::int64_t i = 0; i < piece.count; ++i) {
    auto& error = (*piece.errors)[static_cast<std::size_t>(i)];
    if (!error) continue;
    if (error->code == ErrorCode::kOutOfMemory) throw std::bad_alloc();
    return std::move(*error);
  }
  return {};
}

Status stream_matrix(const MatrixJob& job, Executor& executor, const WriteBytes& write,
                     ProgressMeter& meter) {
  const std::uint64_t stride = job.panel_bytes(0);
  const std::int64_t wanted = std::max<std::int64_t>(
      executor.threads(),
      static_cast<std::int64_t>(kPieceBytes / std::max<std::uint64_t>(1, stride)));
  const std::int64_t per_piece = std::min(wanted, job.panels());
  const std::int64_t threads = executor.threads();

  std::vector<PanelEncoder> encoders;
  encoders.reserve(static_cast<std::size_t>(threads));
  for (std::int64_t i = 0; i < threads; ++i) encoders.emplace_back(job);
  AlignedBytes buffer(static_cast<std::uint64_t>(per_piece) * stride);
  std::vector<std::optional<Error>> errors(static_cast<std::size_t>(per_piece));

  const std::uint64_t source_bytes = job.data.size();
  std::uint64_t reported = 0;
  for (std::int64_t first = 0; first < job.panels(); first += per_piece) {
    const std::int64_t count = std::min(per_piece, job.panels() - first);
    QUERN_CHECK(encode_piece({&job, &encoders, &errors, buffer.data(), first, count}, executor));
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
                     ProgressMeter& meter) {
  for (const MatrixJob& matrix : job.matrices)
    QUERN_CHECK(stream_matrix(matrix, executor, write, meter));
  return {};
}

}  // namespace quern::convert
