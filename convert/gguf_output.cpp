// The GGUF side of the converter: metadata by the GGUF specification's key names.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>

#include "convert/gguf_tokenizer.h"
#include "convert/model_output.h"
#include "convert/quality_report.h"
#include "formats/byte_reader.h"
#include "models/sentence_modules.h"

namespace quern::convert {
namespace {

using formats::GgufWriter;

constexpr std::uint64_t kZeroBlock = 1u << 20;    ///< Bytes of zeros written at once.
constexpr std::int64_t kQuantizationVersion = 2;  ///< Of ggml's block formats.

/// Keys that are made anew, or that describe the source file and not the model.
bool is_regenerated(std::string_view key) {
  constexpr std::string_view kKeys[] = {"general.architecture", "general.file_type",
                                        "general.alignment", "general.quantization_version",
                                        kGgufReportKey};
  return key.starts_with("tokenizer.") || key.starts_with("split.") ||
         std::find(std::begin(kKeys), std::end(kKeys), key) != std::end(kKeys);
}

/// The source's own number where every bit of it is kept: mixtures have names that no single
/// encoding tells.
ConfigValue file_type(const Config& kept, const ModelPlan& plan) {
  const bool same = std::all_of(plan.jobs.begin(), plan.jobs.end(),
                                [](const TensorJob& job) { return job.keeps_bits(); });
  if (same && kept.has("general.file_type")) return *kept.find("general.file_type");
  return static_cast<std::int64_t>(gguf_file_type(plan.main_encoding));
}

std::string model_name(const SourceModel& source) {
  const auto path = std::filesystem::path(source.path()).lexically_normal();
  const auto leaf = path.has_filename() ? path : path.parent_path();
  return leaf.stem().string();
}

Status add_list(GgufWriter& writer, const std::string& key, const ConfigList& list) {
  std::vector<std::string_view> texts;
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
  for (const ConfigValue& value : list) {
    if (const auto* text = std::get_if<std::string>(&value)) texts.push_back(*text);
    if (const auto* number = std::get_if<double>(&value)) {
      floats.push_back(static_cast<float>(*number));
    }
    if (const auto* number = std::get_if<std::int64_t>(&value)) integers.push_back(*number);
    if (const auto* flag = std::get_if<bool>(&value)) integers.push_back(*flag ? 1 : 0);
  }
  if (list.empty()) return {};
  if (texts.size() == list.size()) return writer.add_strings(key, texts);
  if (floats.size() == list.size()) return writer.add_floats(key, floats);
  if (integers.size() == list.size()) return writer.add_integers(key, integers);
  return Error(ErrorCode::kUnsupported, "GGUF cannot hold a list of mixed types").of(key);
}

Status add_value(GgufWriter& writer, const std::string& key, const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return writer.add_string(key, *text);
  if (const auto* flag = std::get_if<bool>(&value)) return writer.add_bool(key, *flag);
  if (const auto* number = std::get_if<double>(&value)) return writer.add_float(key, *number);
  if (const auto* list = std::get_if<ConfigList>(&value)) return add_list(writer, key, *list);
  const auto* integer = std::get_if<std::int64_t>(&value);
  if (integer == nullptr) return {};
  if (*integer >= 0 && *integer <= std::numeric_limits<std::uint32_t>::max()) {
    return writer.add_unsigned(key, static_cast<std::uint32_t>(*integer));
  }
  return writer.add_integer(key, *integer, formats::GgufType::kI64);
}

/// Moves the lists that GGUF keeps as tensors out of the metadata.
void split_factors(Config& metadata, GgufSections& sections) {
  Config rest;
  for (const auto& [key, value] : metadata.items()) {
    const auto* list = std::get_if<ConfigList>(&value);
    if (list == nullptr || !key.ends_with(".weight")) {
      rest.set(key, value);
      continue;
    }
    std::vector<float> floats;
    for (const ConfigValue& item : *list) {
      if (const auto* number = std::get_if<double>(&item)) {
        floats.push_back(static_cast<float>(*number));
      } else if (const auto* integer = std::get_if<std::int64_t>(&item)) {
        floats.push_back(static_cast<float>(*integer));
      }
    }
    if (!floats.empty()) sections.tensors.emplace_back(key, std::move(floats));
  }
  metadata = std::move(rest);
}

/// Ids that GGUF keeps with the tokenizer and a container with the generation defaults.
void set_fill_in_ids(const formats::Json& generation, Config& metadata) {
  constexpr std::pair<const char*, const char*> kKeys[] = {
      {"fim_prefix_token_id", "tokenizer.ggml.fim_pre_token_id"},
      {"fim_suffix_token_id", "tokenizer.ggml.fim_suf_token_id"},
      {"fim_middle_token_id", "tokenizer.ggml.fim_mid_token_id"}};
  if (!generation.is_object()) return;
  for (const auto& [from, to] : kKeys) {
    const formats::Json* id = generation.find(from);
    if (id != nullptr && id->is_integer()) metadata.set(to, ConfigValue(id->integer()));
  }
}

}  // namespace

Result<GgufSections> make_gguf_sections(const SourceModel& source, const ModelPlan& plan) {
  const models::Architecture& architecture = *source.architecture();
  if (architecture.gguf_names.empty() || architecture.write_gguf_config == nullptr) {
    return Error(ErrorCode::kUnsupported, "this architecture cannot be written as GGUF")
        .in_file(source.path())
        .of("architecture")
        .got(std::string(architecture.name));
  }
  if (models::has_sentence_steps(source.config()))
    return Error(ErrorCode::kUnsupported, "GGUF has no words for layers behind an encoder")
        .in_file(source.path())
        .of("embedding.steps");
  GgufSections sections;
  auto written = architecture.write_gguf_config(source.config());
  if (!written.ok()) return std::move(written).error().in_file(source.path());
  Config metadata = std::move(written).value();
  split_factors(metadata, sections);

  // What a GGUF source said beyond that (name, licence, …) is said again.
  QUERN_TRY(kept, formats::flatten_json(source.metadata(), source.path()));
  if (kept.has("general.architecture")) {
    for (const auto& [key, value] : kept.items()) {
      if (!is_regenerated(key) && metadata.find(key) == nullptr) metadata.set(key, value);
    }
  }
  QUERN_TRY(zeros, models::gguf_zero_tensors(architecture, source.config()));
  for (const models::ExpectedTensor& tensor : zeros) {
    const auto rows = static_cast<std::uint64_t>(tensor.rows);
    const auto cols = static_cast<std::uint64_t>(tensor.cols);
    if (tensor.rule->role == models::Role::kVector)
      sections.zeros.push_back({tensor.gguf_name, {cols}, Encoding::kF32});
    else
      sections.zeros.push_back({tensor.gguf_name, {cols, rows}, Encoding::kF16});
  }
  if (!metadata.has("general.name")) metadata.set("general.name", ConfigValue(model_name(source)));
  metadata.set("general.type", ConfigValue(std::string("model")));
  metadata.set("general.file_type", file_type(kept, plan));
  metadata.set("general.quantization_version", ConfigValue(kQuantizationVersion));
  if (!metadata.has("general.architecture"))
    metadata.set("general.architecture", ConfigValue(std::string(architecture.gguf_names.front())));
  set_fill_in_ids(source.generation(), metadata);
  sections.metadata = std::move(metadata);
  sections.chat_template = source.chat_template();
  if (requantizes(plan)) sections.report_room = quality_report_room(plan);
  if (source.has_tokenizer()) {
    QUERN_TRY(spec, source.tokenizer_spec());
    sections.tokenizer = std::move(spec);
  }
  return sections;
}

Result<GgufWriter> prepare_gguf(const GgufSections& sections, const ModelPlan& plan,
                                formats::ByteSink& sink) {
  QUERN_TRY(writer, GgufWriter::to_sink(sink));
  // The architecture first: readers look the other keys up by its name.
  const std::string kFirst = "general.architecture";
  QUERN_CHECK(add_value(writer, kFirst, *sections.metadata.find(kFirst)));
  for (const auto& [key, value] : sections.metadata.items()) {
    if (key != kFirst) QUERN_CHECK(add_value(writer, key, value));
  }
  if (sections.tokenizer) {
    QUERN_TRY(name, sections.metadata.string(kFirst));
    QUERN_CHECK(write_gguf_tokenizer(*sections.tokenizer, writer, name));
  } else {
    QUERN_CHECK(writer.add_string("tokenizer.ggml.model", "none"));  // llama.cpp wants a word.
  }
  if (!sections.chat_template.empty()) {
    QUERN_CHECK(writer.add_string("tokenizer.chat_template", sections.chat_template));
  }
  if (sections.report_room > 0) {
    QUERN_CHECK(writer.reserve_string(kGgufReportKey, sections.report_room));
  }
  for (const auto& [name, values] : sections.tensors) {
    const std::uint64_t ne[] = {values.size()};
    QUERN_CHECK(writer.declare_tensor(name, ne, *formats::ggml_type_of(Encoding::kF32)));
  }
  for (const GgufZeros& zeros : sections.zeros)
    QUERN_CHECK(
        writer.declare_tensor(zeros.name, zeros.ne, *formats::ggml_type_of(zeros.encoding)));
  for (const TensorJob& job : plan.jobs) {
    const std::vector<std::uint64_t> ne(job.dims.rbegin(), job.dims.rend());
    QUERN_CHECK(writer.declare_tensor(job.name, ne, *formats::ggml_type_of(job.to)));
  }
  return writer;
}

Status write_gguf_factors(const GgufSections& sections, GgufWriter& writer) {
  for (const auto& [name, values] : sections.tensors) {
    std::string bytes;
    for (const float value : values) formats::append_le(bytes, value);
    QUERN_CHECK(writer.write(formats::as_bytes(bytes)));
  }
  for (const GgufZeros& zeros : sections.zeros) {
    std::uint64_t bytes = zeros.encoding == Encoding::kF32 ? sizeof(float) : sizeof(float) / 2;
    for (const std::uint64_t n : zeros.ne) bytes *= n;
    const std::vector<std::byte> block(static_cast<std::size_t>(std::min(bytes, kZeroBlock)));
    for (std::uint64_t done = 0; done < bytes; done += block.size())
      QUERN_CHECK(writer.write(
          std::span(block).first(static_cast<std::size_t>(std::min(bytes - done, kZeroBlock)))));
  }
  return {};
}

}  // namespace quern::convert
