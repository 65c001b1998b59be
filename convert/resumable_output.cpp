#include "convert/resumable_output.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "quern/version.h"

namespace quern::convert {
namespace {

using formats::AtomicFile;
using formats::Journal;

/// Bytes that are read at a time.
constexpr std::uint64_t kPieceBytes = 4u << 20;
/// The record that stands behind all arguments: they are complete.
constexpr std::string_view kBegun = "begun";

/// An argument of the run, or a file that it reads, in words.
using Arguments = std::vector<std::pair<std::string, std::string>>;

/// Size and time tell whether a file is the same, as they do for make and rsync.
std::string state_of(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failed;
  if (!fs::is_regular_file(path, failed)) return "no file";
  const auto bytes = fs::file_size(path, failed);
  if (failed) return "no file";
  const auto changed = fs::last_write_time(path, failed).time_since_epoch().count();
  return std::to_string(bytes) + " bytes, changed at " + std::to_string(changed);
}

void add_files(Arguments& arguments, const SourceModel& source, const ConvertOptions& options) {
  const auto add = [&](const std::string& path) {
    arguments.emplace_back("file " + path, state_of(path));
  };
  std::vector<std::string> files = source.files();
  std::sort(files.begin(), files.end());
  arguments.emplace_back("source", source.path());
  arguments.emplace_back("source files", std::to_string(files.size()));
  for (const std::string& file : files) add(file);
  for (const AdapterFile& adapter : options.adapters) {
    namespace fs = std::filesystem;
    std::error_code failed;
    add(adapter.path);
    std::vector<std::string> inside;
    for (const auto& entry : fs::directory_iterator(adapter.path, failed)) {
      inside.push_back(entry.path().string());
    }
    std::sort(inside.begin(), inside.end());
    for (const std::string& file : inside) add(file);
  }
  if (!options.calibration_text.empty()) add(options.calibration_text);
  if (!options.evaluation_text.empty()) add(options.evaluation_text);
}

/// Everything that the bytes of the output depend on; not the number of threads.
Arguments arguments_of(const SourceModel& source, const ConvertOptions& options) {
  Arguments arguments;
  char bits[40];
  std::snprintf(bits, sizeof(bits), "%.17g", options.target_bits);
  arguments.emplace_back("version of quern", version());
  arguments.emplace_back("encoding", options.encoding);
  arguments.emplace_back("target size", std::to_string(options.target_bytes));
  arguments.emplace_back("target bits per weight", bits);
  arguments.emplace_back("calibration text", options.calibration_text);
  arguments.emplace_back("observation without a text", options.observe ? "yes" : "no");
  arguments.emplace_back("evaluation text", options.evaluation_text);
  arguments.emplace_back("most bytes of moments", std::to_string(options.most_moment_bytes));
  arguments.emplace_back("self-test", options.self_test ? "yes" : "no");
  std::string adapters;
  for (const AdapterFile& adapter : options.adapters) {
    std::snprintf(bits, sizeof(bits), "=%.9g ", static_cast<double>(adapter.weight));
    adapters += adapter.path + bits;
  }
  arguments.emplace_back("adapters", adapters);
  add_files(arguments, source, options);
  // A path may hold what a line of the journal may not.
  for (auto& [name, value] : arguments) {
    for (std::string* text : {&name, &value}) {
      std::replace_if(
          text->begin(), text->end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
    }
  }
  return arguments;
}

Status note_arguments(Journal& journal, const Arguments& arguments) {
  for (const auto& [name, value] : arguments) QUERN_CHECK(journal.add("is " + name, value));
  return journal.add(kBegun, std::to_string(arguments.size()));
}

Status compare_arguments(const Journal& journal, const Arguments& arguments,
                         const std::string& output) {
  for (const auto& [name, value] : arguments) {
    const std::string* was = journal.find("is " + name);
    if (was != nullptr && *was == value) continue;
    const bool file = name.rfind("file ", 0) == 0;
    return Error(ErrorCode::kMismatch, file ? "a file has changed since the conversion was "
                                              "interrupted, which cannot be continued so"
                                            : "the interrupted conversion had another argument and "
                                              "cannot be continued with this one")
        .in_file(output)
        .of(name)
        .want(was == nullptr ? "none"
              : was->empty() ? "none"
                             : *was)
        .got(value.empty() ? "none" : value);
  }
  return {};
}

std::string tensor_key(std::size_t i) { return "tensor " + std::to_string(i); }

/// \return whether the file holds these bytes.
Result<bool> has_checksum(const AtomicFile& file, std::uint64_t offset, std::uint64_t bytes,
                          std::uint64_t checksum) {
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(bytes, kPieceBytes)));
  formats::Xxh64 hash;
  for (std::uint64_t done = 0; done < bytes;) {
    const auto part = std::span(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, piece.size())));
    QUERN_TRY(there, file.read_at(offset + done, part));
    if (!there) return false;
    hash.add(part);
    done += part.size();
  }
  return hash.digest() == checksum;
}

}  // namespace

Result<ResumableOutput> ResumableOutput::open(const SourceModel& source, const std::string& output,
                                              const ConvertOptions& options) {
  const Arguments arguments = arguments_of(source, options);
  if (options.resume) {
    QUERN_TRY(found, AtomicFile::reopen(output));
    if (found) {
      auto journal = Journal::open(found->companion_path());
      Status same = journal.ok() ? Status() : Status(journal.error());
      const bool begun = journal.ok() && journal->find(kBegun) != nullptr;
      if (begun) same = compare_arguments(*journal, arguments, output);
      if (!same.ok()) {
        found->keep();
        return same.error();
      }
      if (begun) return ResumableOutput(std::move(*found), std::move(*journal));
    }
  }
  QUERN_TRY(file, AtomicFile::create(output));
  QUERN_TRY(journal, Journal::create(file.companion_path()));
  QUERN_CHECK(note_arguments(journal, arguments));
  return ResumableOutput(std::move(file), std::move(journal));
}

void ResumableOutput::keep() noexcept { file_.keep(); }

bool FinishedTensors::read_record(const std::string& text, Record& record) {
  const auto words = formats::read_words(text);
  if (!words || words->size() != 7) return false;
  const auto real = [&](std::size_t i) { return std::bit_cast<double>((*words)[i]); };
  record = {(*words)[0], (*words)[1], (*words)[2], {real(3), real(4), {real(5), real(6)}}};
  return true;
}

Result<FinishedTensors> FinishedTensors::find(ResumableOutput& output, std::size_t n_tensors) {
  FinishedTensors found(output.journal());
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < n_tensors; ++i) {
    const std::string* text = output.journal().find(tensor_key(i));
    Record record;
    if (text == nullptr || !read_record(*text, record)) continue;
    QUERN_TRY(good, has_checksum(output.file(), record.offset, record.bytes, record.checksum));
    if (!good) continue;
    end = std::max(end, record.offset + record.bytes);
    found.records_[i] = record;
  }
  QUERN_CHECK(output.file().resize(end));
  return found;
}

Result<bool> FinishedTensors::recall(std::size_t i, QuantizationError& error) {
  hash_ = {};
  current_ = {};
  current_.offset = writer_.next_offset();
  const auto found = records_.find(i);
  if (found == records_.end()) return false;
  const Record& record = found->second;
  if (record.offset != current_.offset) {
    return Error(ErrorCode::kMismatch, "the interrupted conversion put a tensor elsewhere")
        .of(tensor_key(i))
        .want("offset " + std::to_string(current_.offset))
        .got("offset " + std::to_string(record.offset));
  }
  error = record.error;
  QUERN_CHECK(writer_.skip_tensor(record.checksum));
  return true;
}

void FinishedTensors::add(std::span<const std::byte> bytes) noexcept {
  hash_.add(bytes);
  current_.bytes += bytes.size();
}

Status FinishedTensors::note(std::size_t i, const QuantizationError& error) {
  const auto word = [](double number) { return std::bit_cast<std::uint64_t>(number); };
  const std::uint64_t words[] = {current_.offset,          current_.bytes,
                                 hash_.digest(),           word(error.square),
                                 word(error.error),        word(error.outputs.square),
                                 word(error.outputs.error)};
  return journal_->add(tensor_key(i), formats::write_words(words));
}

}  // namespace quern::convert
