#include "convert/convert.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/guard.h"
#include "convert/cache_measurement.h"
#include "convert/calibration.h"
#include "convert/encoding_offers.h"
#include "convert/model_output.h"
#include "convert/quality_report.h"
#include "convert/resumable_output.h"
#include "convert/self_test_maker.h"
#include "convert/source_errors.h"
#include "convert/unused_tensors.h"
#include "formats/mapped_file.h"

namespace quern::convert {
namespace {

using formats::AtomicFile;

/// Source and plan of one conversion. The plan's jobs point into the source.
struct Prepared {
  SourcePointer source;
  ModelPlan plan;
  OutputFormat format;
  EncodingPolicy policy;
  std::optional<TargetChoice> choice;
  std::shared_ptr<Executor> executor;
  bool ignore_unused = false;
  BakedTensors baked;  ///< The plan's jobs point into it too, and so it stays where it is.
};

/// Reads the adapters as changes to the source's weights.
Result<BakedTensors> read_adapters(const SourceModel& source, const ConvertOptions& options,
                                   const std::shared_ptr<Executor>& executor) {
  const bool looks_at_source = options.target_bytes > 0 || options.target_bits > 0 ||
                               !options.calibration_text.empty() ||
                               !options.evaluation_text.empty();
  if (looks_at_source)
    return Error(ErrorCode::kUnsupported,
                 "adapters are baked in without a target, a calibration or an evaluation")
        .of("adapters")
        .want("two steps: convert with the adapters, then quantize the result");
  ModelOptions model_options;
  model_options.executor = executor;
  QUERN_TRY(base, open_model(source.path(), model_options, options.ignore_unused));
  std::vector<AdapterUse> uses;
  for (const AdapterFile& file : options.adapters) {
    QUERN_TRY(adapter, open_adapter(file.path, base));
    uses.push_back({std::move(adapter), file.weight});
  }
  return bake_adapters(base, uses);
}

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

Result<std::uint64_t> planned_bytes(const SourceModel& source, const ModelPlan& plan,
                                    OutputFormat format, const std::string& encoding) {
  formats::MemorySink nowhere;
  if (format == OutputFormat::kGguf) {
    QUERN_TRY(sections, make_gguf_sections(source, plan));
    QUERN_TRY(writer, prepare_gguf(sections, plan, nowhere));
    return writer.total_bytes();
  }
  QUERN_TRY(sections, make_quern_sections(source, encoding));
  QUERN_TRY(writer, prepare_quern(sections, plan, nowhere));
  return writer.total_bytes();
}

Result<ModelPlan> plan_tensors(const SourceModel& source, OutputFormat format,
                               const EncodingPolicy& policy, bool ignore_unused) {
  QUERN_TRY(plan, make_plan(source, format, policy));
  if (!ignore_unused) QUERN_CHECK(refuse_strays(source.path(), plan.strays));
  if (!plan.strays.empty()) plan.shown.warnings.push_back(describe_strays(plan.strays));
  note_source_errors(source, plan);
  return plan;
}

/// Bytes of a file of this model beside the matrices whose encoding may be chosen.
Result<std::uint64_t> bytes_beside(const SourceModel& source, OutputFormat format,
                                   const ConvertOptions& options) {
  const Encoding any = offered_encodings(format).back();
  const EncodingPolicy policy{.keep = false, .target = any, .chosen = {}};
  QUERN_TRY(plan, plan_tensors(source, format, policy, options.ignore_unused));
  QUERN_TRY(bytes, planned_bytes(source, plan, format, "target"));
  for (const TensorJob& job : plan.jobs) {
    if (job.quantizable) bytes -= job.bytes();
  }
  // A GGUF file's bytes include the room for its report.
  return bytes + (format == OutputFormat::kGguf ? 0 : late_sections_room(plan, options.self_test));
}

bool has_target(const ConvertOptions& options) {
  return options.target_bytes > 0 || options.target_bits > 0;
}

Result<Prepared> open_work(const std::string& path, const std::string& output,
                           const ConvertOptions& options) {
  Prepared work;
  work.format = output_format(output);
  work.ignore_unused = options.ignore_unused;
  QUERN_TRY(policy, parse_encoding(options.encoding, work.format));
  work.policy = std::move(policy);
  QUERN_TRY(source, open_source(path));
  work.source = std::move(source);
  QUERN_CHECK(check_output(*work.source, output));
  QUERN_TRY(executor, make_executor(options.threads));
  work.executor = std::move(executor);
  return work;
}

/// Whether the model may be looked at before it is encoded.
bool observes(const ConvertOptions& options) {
  return options.observe || !options.calibration_text.empty();
}

/// A preset with time to measure asks for a choice: the best file of the size that its bits have
/// everywhere. Of the smallest encoding there is no other. \return the options with that target.
Result<ConvertOptions> with_target(const Prepared& work, const ConvertOptions& options) {
  ConvertOptions asked = options;
  const bool chooses = is_preset(options.encoding) && options.adapters.empty() &&
                       work.policy.target != smallest_encoding(work.format);
  if (has_target(options) || !observes(options) || !chooses) return asked;
  QUERN_TRY(uniform, make_plan(*work.source, work.format, work.policy));
  if (requantizes(uniform)) asked.target_bits = uniform.shown.bits_per_weight;
  return asked;
}

/// Chooses and plans. \param notes of a run that this one continues.
Status plan_work(Prepared& work, const ConvertOptions& given, ChoiceNotes notes = ChoiceNotes()) {
  QUERN_TRY(options, with_target(work, given));
  if (has_target(options)) {
    QUERN_TRY(beside, bytes_beside(*work.source, work.format, options));
    QUERN_TRY(choice,
              choose_for_target(*work.source, work.format, options, beside, work.executor, notes));
    work.policy = choice.policy;
    work.choice = std::move(choice);
  }
  QUERN_TRY(plan, plan_tensors(*work.source, work.format, work.policy, options.ignore_unused));
  work.plan = std::move(plan);
  if (!options.adapters.empty()) {
    QUERN_TRY(baked, read_adapters(*work.source, options, work.executor));
    work.baked = std::move(baked);
    QUERN_CHECK(bake_into(work.plan, work.baked, work.source->path()));
  }
  return {};
}

/// Streams the tensors and notes their errors in the plan.
Status write_weights(Prepared& work, const ConvertOptions& options, const WriteBytes& write,
                     FinishedTensors& finished) {
  std::unique_ptr<Calibration> calibration;
  const TokenWindows own = work.choice ? work.choice->own_windows : TokenWindows();
  // Without a text there is no need to observe, and so no error where it cannot be done.
  const bool observed =
      !options.calibration_text.empty() || ((options.observe || !own.empty()) && can_calibrate());
  if (observed && requantizes(work.plan) && finished.count() < work.plan.jobs.size()) {
    QUERN_TRY(made, make_calibration(*work.source, work.plan, options, own, work.executor));
    calibration = std::move(made);
    if (calibration) {
      const std::vector<std::string>& told = calibration->warnings();
      work.plan.shown.warnings.insert(work.plan.shown.warnings.end(), told.begin(), told.end());
    }
  }
  std::vector<QuantizationError> errors;
  QUERN_CHECK(write_tensors(*work.source, work.plan, *work.executor, options.progress, write,
                            {calibration.get(), &errors, &finished}));
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const QuantizationError& error = errors[i];
    PlannedTensor& shown = work.plan.shown.tensors[i];
    if (!work.plan.jobs[i].quantizable) continue;
    if (error.square > 0) shown.relative_error = std::sqrt(error.error / error.square);
    if (error.outputs.square > 0)
      shown.weighted_error = std::sqrt(error.outputs.error / error.outputs.square);
  }
  return {};
}

/// The sealed file as it will run.
struct SealedModel {
  Model model;
  KvType kv = KvType::kAuto;  ///< Of sessions that name no cache.
};

/// What sessions ask of a file, or a source, while it is converted.
Result<Model> open_for(const std::string& path, const Prepared& work) {
  ModelOptions options;
  options.executor = work.executor;
  return open_model(path, options, work.ignore_unused);
}

/// \param sealed where there is a text to compare on.
Result<std::string> report_quality(const SealedModel* sealed, const Prepared& work,
                                   const ConvertOptions& options) {
  std::optional<ModelComparison> comparison;
  if (!options.evaluation_text.empty()) {
    QUERN_TRY(source, open_for(work.source->path(), work));
    QUERN_TRY(compared, compare_models(source, sealed->model, sealed->kv, options.evaluation_text,
                                       options.progress));
    comparison = compared;
  }
  return formats::dump_json(make_quality_report(work.plan, options,
                                                work.choice ? &*work.choice : nullptr,
                                                comparison ? &*comparison : nullptr));
}

/// \return nullopt where nothing is to be asked of the file at `path`.
Result<std::optional<SealedModel>> open_sealed(const std::string& path, const Prepared& work,
                                               bool asked) {
  if (!asked) return std::optional<SealedModel>();
  QUERN_TRY(model, open_for(path, work));
  return std::optional(SealedModel{std::move(model)});
}

Status write_gguf(Prepared& work, AtomicFile& file, FinishedTensors& finished,
                  const ConvertOptions& options, ConvertReport& report) {
  QUERN_TRY(sections, make_gguf_sections(*work.source, work.plan));
  QUERN_TRY(writer, prepare_gguf(sections, work.plan, file));
  work.plan.shown.output_bytes = writer.total_bytes();
  QUERN_CHECK(writer.begin());
  QUERN_CHECK(write_gguf_factors(sections, writer));
  finished.set_writer(
      {[&] { return writer.next_offset(); }, [&](std::uint64_t) { return writer.skip_tensor(); }});
  const auto write = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  QUERN_CHECK(write_weights(work, options, write, finished));
  QUERN_CHECK(writer.seal());
  if (requantizes(work.plan)) {
    QUERN_TRY(sealed, open_sealed(file.temporary_path(), work, !options.evaluation_text.empty()));
    QUERN_TRY(quality, report_quality(sealed ? &*sealed : nullptr, work, options));
    report.quality_json = std::move(quality);
    QUERN_CHECK(writer.fill_reserved(report.quality_json));
  }
  return writer.finish();
}

/// What `verify` replays, and which cache the weights bear.
Status add_answers(formats::QuernWriter& writer, SealedModel& sealed, Prepared& work) {
  using formats::Section;
  QUERN_TRY(made, make_self_test(sealed.model));
  auto& warnings = work.plan.shown.warnings;
  warnings.insert(warnings.end(), made.warnings.begin(), made.warnings.end());
  QUERN_CHECK(writer.set_section(Section::kSelfTest,
                                 std::string_view(formats::write_self_test(made.test))));
  QUERN_TRY(cache, measure_cache(sealed.model));
  if (!cache) return {};
  sealed.kv = cache->kv;
  return writer.set_section(Section::kCache, std::string_view(formats::write_cache_choice(*cache)));
}

Status add_late_sections(formats::QuernWriter& writer, const std::string& path, Prepared& work,
                         const ConvertOptions& options, ConvertReport& report) {
  const bool compares = requantizes(work.plan) && !options.evaluation_text.empty();
  QUERN_TRY(sealed, open_sealed(path, work, options.self_test || compares));
  if (options.self_test) QUERN_CHECK(add_answers(writer, *sealed, work));
  if (!requantizes(work.plan)) return {};
  QUERN_TRY(quality, report_quality(sealed ? &*sealed : nullptr, work, options));
  report.quality_json = std::move(quality);
  return writer.set_section(formats::Section::kReport, std::string_view(report.quality_json));
}

Status write_quern(Prepared& work, AtomicFile& file, FinishedTensors& finished,
                   const ConvertOptions& options, ConvertReport& report) {
  QUERN_TRY(sections,
            make_quern_sections(*work.source, has_target(options) ? "target" : options.encoding));
  QUERN_TRY(writer, prepare_quern(sections, work.plan, file));
  QUERN_CHECK(writer.begin());
  finished.set_writer({[&] { return writer.next_offset(); },
                       [&](std::uint64_t checksum) { return writer.skip_tensor(checksum); }});
  const auto write = [&](std::span<const std::byte> bytes) { return writer.write(bytes); };
  QUERN_CHECK(write_weights(work, options, write, finished));
  QUERN_CHECK(writer.seal());
  QUERN_CHECK(add_late_sections(writer, file.temporary_path(), work, options, report));
  work.plan.shown.output_bytes = writer.total_bytes();
  QUERN_TRY(hash, writer.finish());
  report.weights_hash = hash;
  return {};
}

Status write_output(Prepared& work, ResumableOutput& output, const ConvertOptions& options,
                    ConvertReport& report) {
  QUERN_CHECK(plan_work(work, options, ChoiceNotes(&output.journal())));
  QUERN_TRY(finished, FinishedTensors::find(output, work.plan.jobs.size()));
  report.resumed_tensors = finished.count();
  return work.format == OutputFormat::kGguf
             ? write_gguf(work, output.file(), finished, options, report)
             : write_quern(work, output.file(), finished, options, report);
}

}  // namespace

Result<ConvertReport> convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options) {
  return base::guarded([&]() -> Result<ConvertReport> {
    const auto start = std::chrono::steady_clock::now();
    QUERN_TRY(work, open_work(source, output, options));
    QUERN_TRY(place, ResumableOutput::open(*work.source, output, options));
    ConvertReport report;
    const Status written = write_output(work, place, options, report);
    if (!written.ok()) {
      if (options.keep_cancelled && written.error().code == ErrorCode::kCancelled) place.keep();
      return written.error();
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
    QUERN_TRY(work, open_work(source, output, options));
    QUERN_CHECK(plan_work(work, options));
    QUERN_TRY(bytes, planned_bytes(*work.source, work.plan, work.format, options.encoding));
    work.plan.shown.output_bytes = bytes;
    return std::move(work.plan.shown);
  });
}

}  // namespace quern::convert
