// The `.quern` side of the converter.
#include "convert/config_section.h"
#include "convert/model_output.h"
#include "text/tokenizer/image_builder.h"

namespace quern::convert {

Result<QuernSections> make_quern_sections(const SourceModel& source, const std::string& encoding) {
  QuernSections sections;
  sections.config = write_config_section(source, encoding);
  sections.chat_template = source.chat_template();
  if (source.generation().is_object() && !source.generation().empty()) {
    sections.generation = formats::dump_json(source.generation(), 1);
  }
  if (!source.has_tokenizer()) return sections;
  QUERN_TRY(image, source.tokenizer_image());
  if (image.empty()) {
    QUERN_TRY(spec, source.tokenizer_spec());
    auto built = text::build_tokenizer_image(spec);
    if (!built.ok()) return std::move(built).error().in_file(source.path());
    image = std::move(built).value();
  }
  sections.tokenizer = std::move(image);
  return sections;
}

Result<formats::QuernWriter> prepare_quern(const QuernSections& sections, const ModelPlan& plan,
                                           formats::ByteSink& sink) {
  using formats::Section;
  QUERN_TRY(writer, formats::QuernWriter::to_sink(sink, sections.config));
  if (!sections.tokenizer.empty()) {
    QUERN_CHECK(writer.set_section(Section::kTokenizer, sections.tokenizer));
  }
  if (!sections.chat_template.empty()) {
    QUERN_CHECK(writer.set_section(Section::kTemplate, std::string_view(sections.chat_template)));
  }
  if (!sections.generation.empty()) {
    QUERN_CHECK(writer.set_section(Section::kGeneration, std::string_view(sections.generation)));
  }
  for (const TensorJob& job : plan.jobs) {
    QUERN_CHECK(writer.declare_tensor(job.name, job.to, job.layout, job.dims));
  }
  return writer;
}

namespace {

Status write_tensor(const TensorJob& job, std::size_t i, Executor& executor, ProgressMeter& meter,
                    const WriteBytes& write, const TensorNotes& notes) {
  QuantizationError* error = notes.errors == nullptr ? nullptr : &notes.errors->emplace_back();
  if (notes.finished == nullptr) {
    return stream_tensor(job, executor, write, meter, notes.calibration, error);
  }
  QuantizationError unseen;
  QuantizationError& known = error == nullptr ? unseen : *error;
  QUERN_TRY(there, notes.finished->recall(i, known));
  if (there) {
    std::uint64_t bytes = 0;
    for (const MatrixJob& matrix : job.matrices) bytes += matrix.source_bytes();
    return meter.advance(bytes);
  }
  const auto write_noted = [&](std::span<const std::byte> bytes) {
    notes.finished->add(bytes);
    return write(bytes);
  };
  QUERN_CHECK(stream_tensor(job, executor, write_noted, meter, notes.calibration, error));
  return notes.finished->note(i, known);
}

}  // namespace

Status write_tensors(const SourceModel& source, const ModelPlan& plan, Executor& executor,
                     const Progress& progress, const WriteBytes& write, const TensorNotes& notes) {
  ProgressMeter meter(progress, plan.source_bytes);
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    const TensorJob& job = plan.jobs[i];
    auto status = write_tensor(job, i, executor, meter, write, notes);
    if (!status.ok()) {
      if (status.error().file.empty()) status.error().file = source.path();
      return status;
    }
    for (const MatrixJob& matrix : job.matrices) source.release(*matrix.source);
  }
  return {};
}

}  // namespace quern::convert
