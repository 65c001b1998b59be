/// \file
/// An output that can be continued after its run was killed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/panel_encoder.h"
#include "convert/source_model.h"
#include "formats/atomic_file.h"
#include "formats/checksum.h"
#include "formats/journal.h"
#include "quern/result.h"

namespace quern::convert {

/// The temporary file of a conversion and the journal beside it, which begins with what the run was
/// asked for: the arguments, and size and time of every file that it reads. Thread rule: one owner.
class ResumableOutput {
 public:
  /// With `options.resume` what an interrupted run to `output` left, where there is something; else
  /// an empty one. Errors: kMismatch naming the argument or file that is not what it was (what was
  /// left stays as it is); those of AtomicFile and Journal.
  static Result<ResumableOutput> open(const SourceModel& source, const std::string& output,
                                      const ConvertOptions& options);

  formats::AtomicFile& file() noexcept { return file_; }
  formats::Journal& journal() noexcept { return journal_; }
  /// Leaves it for a later run.
  void keep() noexcept;

 private:
  ResumableOutput(formats::AtomicFile file, formats::Journal journal)
      : file_(std::move(file)), journal_(std::move(journal)) {}

  formats::AtomicFile file_;
  formats::Journal journal_;
};

/// Which tensors of a plan lie in the output already, and notes of those that are written now.
/// Thread rule: one owner.
class FinishedTensors {
 public:
  /// What it needs to know of the output's writer.
  struct Writer {
    std::function<std::uint64_t()> next_offset;                 ///< Of the next tensor in the file.
    std::function<Status(std::uint64_t checksum)> skip_tensor;  ///< Its bytes are there already.
  };

  /// Reads every tensor that the journal calls finished: one whose bytes have another checksum is
  /// not. What lies behind the last good one is cut off. To be called before anything is written.
  static Result<FinishedTensors> find(ResumableOutput& output, std::size_t n_tensors);

  /// Of the plan's tensors.
  std::size_t count() const noexcept { return records_.size(); }
  void set_writer(Writer writer) { writer_ = std::move(writer); }

  /// \return whether tensor `i` is there: it is skipped then and `error` filled. Errors: kMismatch
  /// where it lies somewhere else.
  Result<bool> recall(std::size_t i, QuantizationError& error);
  /// Says which bytes the current tensor gets.
  void add(std::span<const std::byte> bytes) noexcept;
  /// The current tensor, number `i`, is written.
  Status note(std::size_t i, const QuantizationError& error);

 private:
  struct Record {
    std::uint64_t offset = 0, bytes = 0, checksum = 0;
    QuantizationError error;
  };
  explicit FinishedTensors(formats::Journal& journal) : journal_(&journal) {}
  static bool read_record(const std::string& text, Record& record);

  formats::Journal* journal_;
  std::map<std::size_t, Record> records_;
  Writer writer_;
  Record current_;
  formats::Xxh64 hash_;
};

}  // namespace quern::convert
