#include "convert/convert.h"

#include <chrono>
#include <filesystem>

#include "base/guard.h"
#include "convert/model_output.h"
#include "convert/self_test_maker.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::AtomicFile;

/// Source and plan of one conversion. The plan's jobs point into the source.
struct Prepared {
  SourcePointer source;
  ModelPlan plan;
  OutputFormat format;
};

Status check_output(const SourceModel& source, const std::string& output) {
  if (output.empty()) return Error(ErrorCode::kInvalidArgument, "the output has no name");
  std::error_code failed;
  const bool folder = std::filesystem::is_directory(output, failed);
  bool same = formats::same_file(source.path(), output);
  for (const std::string& file : source.files()) same = same || formats::same_file(file, output);
  if (!same && !folder) return {};
  return Error(ErrorCode::kInvalidArgument,
               same ? "the output is the input, which is never touched" : "the output is a folder")
      .in_file(output)
      .of("output")
      .want("another file");
}

Result<Prepared> prepare(const std::string& path, const std::string& output,
                         const ConvertOptions& options) {
  const OutputFormat format = output_format(output);
  QUERN_CHECK(parse_encoding(options.encoding, format));
  QUERN_TRY(source, open_source(path));
  QUERN_CHECK(check_output(*source, output));
  QUERN_TRY(plan, make_plan(*source, format, options));
  return Prepared{std::move(source), std::move(plan), format};
}

Result<std::uint64_t> planned_bytes(const Prepared& work, const ConvertOptions& options) {
  formats::MemorySink nowhere;
  if (work.format == OutputFormat::kGguf) {
    QUERN_TRY(sections, make_gguf_sections(*work.source, work.plan));
    QUERN_TRY(writer, prepare_gguf(sections, work.plan, nowhere));
    return writer.total_bytes();
  }
  QUERN_TRY(sections, make_quern_sections(*work.source, options.encoding));
  QUERN_TRY(writer, prepare_quern(sections, work.plan, nowhere));
  return writer.total_bytes();
}

Status write_gguf(Prepared& work, const std::string& output, const ConvertOptions& options,
                  Executor& executor) {
  QUERN_TRY(sections, make_gguf_sections(*work.source, work.plan));
  QUERN_TRY(file, AtomicFile::create(output));
  QUERN_TRY(writer, prepare_gguf(sections, work.plan, file));
  work.plan.shown.output_bytes = writer.total_bytes();
  QUERN_CHECK(writer.begin());
  QUERN_CHECK(write_gguf_factors(sections, writer));
  const auto write = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  QUERN_CHECK(write_tensors(*work.source, work.plan, executor, options.progress, write));
  return writer.finish();
}

Result<std::uint64_t> write_quern(Prepared& work, const std::string& output,
                                  const ConvertOptions& options,
                                  std::shared_ptr<Executor> executor) {
  QUERN_TRY(sections, make_quern_sections(*work.source, options.encoding));
  QUERN_TRY(file, AtomicFile::create(output));
  QUERN_TRY(writer, prepare_quern(sections, work.plan, file));
  QUERN_CHECK(writer.begin());
  const auto write = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  QUERN_CHECK(write_tensors(*work.source, work.plan, *executor, options.progress, write));
  if (options.self_test) {
    QUERN_CHECK(writer.seal());
    QUERN_TRY(made, make_self_test(file.temporary_path(), std::move(executor)));
    auto& warnings = work.plan.shown.warnings;
    warnings.insert(warnings.end(), made.warnings.begin(), made.warnings.end());
    QUERN_CHECK(writer.set_section(formats::Section::kSelfTest,
                                   std::string_view(formats::write_self_test(made.test))));
  }
  work.plan.shown.output_bytes = writer.total_bytes();
  return writer.finish();
}

}  // namespace

Result<ConvertReport> convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options) {
  return base::guarded([&]() -> Result<ConvertReport> {
    const auto start = std::chrono::steady_clock::now();
    QUERN_TRY(work, prepare(source, output, options));
    QUERN_TRY(made, make_executor(options.threads));
    const std::shared_ptr<Executor> executor = std::move(made);
    ConvertReport report;
    if (work.format == OutputFormat::kGguf) {
      QUERN_CHECK(write_gguf(work, output, options, *executor));
    } else {
      QUERN_TRY(hash, write_quern(work, output, options, executor));
      report.weights_hash = hash;
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    report.plan = std::move(work.plan.shown);
    report.seconds = spent.count();
    return report;
  });
}

Result<ConvertPlan> plan(const std::string& source, const std::string& output,
                         const ConvertOptions& options) {
  return base::guarded([&]() -> Result<ConvertPlan> {
    QUERN_TRY(work, prepare(source, output, options));
    QUERN_TRY(bytes, planned_bytes(work, options));
    work.plan.shown.output_bytes = bytes;
    return std::move(work.plan.shown);
  });
}

}  // namespace quern::convert
