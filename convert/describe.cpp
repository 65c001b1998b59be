// What `inspect` shows, as one JSON document.
#include <array>
#include <filesystem>
#include <map>

#include "base/guard.h"
#include "convert/config_section.h"
#include "convert/convert.h"
#include "convert/source_model.h"
#include "formats/cache_choice.h"
#include "formats/quern_file.h"
#include "formats/self_test.h"
#include "text/tokenizer/image.h"

namespace quern::convert {
namespace {

using formats::Json;

std::string hex(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// The four letters of a section's kind; unknown kinds may hold anything.
std::string section_name(std::uint32_t kind) {
  std::string text;
  for (int i = 0; i < 4; ++i, kind >>= 8) {
    const char c = static_cast<char>(kind & 255);
    text += c > ' ' && c < 127 ? c : '?';
  }
  return text;
}

constexpr std::array<const char*, 6> kModelNames{"",        "bpe (merges)", "bpe (scores)",
                                                 "unigram", "wordpiece",    "wordlevel"};

Json describe_tokenizer(formats::TokenizerModel model, std::size_t tokens, std::size_t merges,
                        const formats::SpecialIds& ids) {
  Json json = Json::object();
  const auto kind = static_cast<std::size_t>(model);
  json["model"] = kind < kModelNames.size() ? kModelNames[kind] : "?";
  json["tokens"] = tokens;
  json["merges"] = merges;
  const std::pair<const char*, std::int32_t> named[] = {
      {"bos", ids.bos}, {"eos", ids.eos}, {"eot", ids.eot}, {"unk", ids.unk},
      {"pad", ids.pad}, {"sep", ids.sep}, {"cls", ids.cls}, {"mask", ids.mask}};
  for (const auto& [name, id] : named) {
    if (id >= 0) json[name] = id;
  }
  return json;
}

/// One tensor of any source, and its share of the sums.
struct TensorLine {
  std::string name, type, layout;
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes = 0;
  Json more = Json::object();  ///< Offset and checksum, where they are known.
};

void add_tensors(const std::vector<TensorLine>& lines, bool list, Json& root) {
  struct Sum {
    std::uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Sum> by_type;
  std::uint64_t bytes = 0;
  double elements = 0;
  Json all = Json::array();
  for (const TensorLine& line : lines) {
    Sum& sum = by_type[line.type];
    ++sum.tensors;
    sum.bytes += line.bytes;
    bytes += line.bytes;
    double count = 1;
    for (const auto n : line.shape) count *= static_cast<double>(n);
    elements += count;
    if (!list) continue;
    Json entry = {
        {"name", line.name}, {"encoding", line.type}, {"shape", line.shape}, {"bytes", line.bytes}};
    if (!line.layout.empty()) entry["layout"] = line.layout;
    for (const auto& [key, value] : line.more.items()) entry[key] = value;
    all.push_back(std::move(entry));
  }
  Json encodings = Json::object();
  for (const auto& [type, sum] : by_type) {
    encodings[type] = {{"tensors", sum.tensors}, {"bytes", sum.bytes}};
  }
  root["weights"] = {
      {"tensors", lines.size()},
      {"bytes", bytes},
      {"parameters", elements},
      {"bits_per_weight", elements > 0 ? 8.0 * static_cast<double>(bytes) / elements : 0.0},
      {"encodings", std::move(encodings)}};
  if (list) root["tensors"] = std::move(all);
}

/// JSON text as JSON, or as a string where it is none.
Json embedded(std::string_view text, const std::string& path) {
  if (text.empty()) return Json();
  auto parsed = formats::parse_json(text, path, {}, true);
  return parsed.ok() ? std::move(parsed).value() : Json(std::string(text));
}

Status add_self_test(const formats::QuernFile& file, Json& root) {
  if (file.self_test().empty()) return {};
  auto test = formats::read_self_test(file.self_test(), file.path());
  if (!test.ok()) {
    root["self_test"] = {{"problem", test.error().describe()}};
    return {};
  }
  root["self_test"] = {{"strings", test->texts.size()},
                       {"renderings", test->renderings.size()},
                       {"logits", test->logits.size()}};
  return {};
}

Status add_cache_choice(const formats::QuernFile& file, Json& root) {
  const auto section = file.section(formats::Section::kCache);
  if (section.empty()) return {};
  QUERN_TRY(choice, formats::read_cache_choice(section, file.path()));
  root["cache"] = {{"kv", kv_name(choice.kv)},
                   {"tokens", choice.tokens},
                   {"kl_divergence", {{"f16", choice.f16}, {"q8", choice.q8}}}};
  return {};
}

Result<Json> describe_quern(const std::string& path, bool tensors) {
  QUERN_TRY(file, formats::QuernFile::open(path));
  Json root = {{"file", path},
               {"kind", "quern"},
               {"version", formats::kQuernVersion},
               {"bytes", file.file_bytes()},
               {"weights_hash", hex(file.weights_hash())}};
  Json& sections = root["sections"] = Json::array();
  for (const formats::SectionEntry& section : file.sections()) {
    sections.push_back({{"kind", section_name(section.kind)},
                        {"offset", section.offset},
                        {"bytes", section.bytes.size()},
                        {"checksum", hex(section.checksum)}});
  }
  QUERN_TRY(config, read_config_section(file.config_json(), path));
  root["config"] = formats::config_to_json(config.config);
  root["provenance"] = std::move(config.provenance);
  if (!file.metadata_json().empty()) root["metadata"] = embedded(file.metadata_json(), path);
  root["generation"] = embedded(file.generation_json(), path);
  root["chat_template"] = std::string(file.chat_template());
  if (!file.report_json().empty()) root["report"] = embedded(file.report_json(), path);
  if (!file.tokenizer().empty()) {
    QUERN_TRY(image, text::ImageView::open(file.tokenizer(), path));
    root["tokenizer"] =
        describe_tokenizer(image.model(), image.n_tokens(), image.n_merges(), image.ids());
  }
  QUERN_CHECK(add_self_test(file, root));
  QUERN_CHECK(add_cache_choice(file, root));
  std::vector<TensorLine> lines;
  for (const formats::TensorEntry& tensor : file.tensors()) {
    const EncodingInfo* info = find_encoding(tensor.encoding);
    TensorLine line;
    line.name = tensor.name;
    line.type = info == nullptr ? "?" : std::string(info->name);
    line.layout = tensor.layout == Layout::kPanel16 ? "panel16" : "plain";
    line.shape.assign(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    line.bytes = tensor.data.size();
    line.more = {{"offset", tensor.offset}, {"checksum", hex(tensor.checksum)}};
    lines.push_back(std::move(line));
  }
  add_tensors(lines, tensors, root);
  return root;
}

Result<Json> describe_foreign(const std::string& path, bool tensors) {
  Json root = {{"file", path}};
  auto opened = open_source(path);
  if (!opened.ok()) {
    // A model that quern cannot run can still be looked at, a file of tensors too.
    auto partial = open_source(path, true);
    if (partial.ok()) {
      root["problem"] = opened.error().describe();
      opened = std::move(partial);
    }
  }
  if (!opened.ok()) return std::move(opened).error();
  const SourceModel& source = **opened;
  root["kind"] = std::string(source.kind());
  std::uint64_t bytes = 0;
  for (const std::string& file : source.files()) {
    std::error_code failed;
    const auto size = std::filesystem::file_size(file, failed);
    if (!failed) bytes += size;
  }
  root["bytes"] = bytes;
  if (source.architecture() != nullptr) {
    root["architecture"] = std::string(source.architecture()->name);
    root["config"] = formats::config_to_json(source.config());
  }
  root["metadata"] = source.metadata();
  root["generation"] = source.generation();
  root["chat_template"] = source.chat_template();
  if (!source.quality_report().empty()) root["report"] = embedded(source.quality_report(), path);
  if (source.has_tokenizer()) {
    QUERN_TRY(spec, source.tokenizer_spec());
    root["tokenizer"] =
        describe_tokenizer(spec.model, spec.tokens.size(), spec.merges.size(), spec.ids);
  }
  if (!source.notes().empty()) root["notes"] = source.notes();
  std::vector<TensorLine> lines;
  for (const SourceTensor& tensor : source.tensors()) {
    lines.push_back({tensor.name, tensor.type_name, {}, tensor.shape, tensor.bytes()});
  }
  add_tensors(lines, tensors, root);
  return root;
}

}  // namespace

Result<std::string> describe(const std::string& path, bool tensors) {
  return base::guarded([&]() -> Result<std::string> {
    QUERN_TRY(format, sniff_source(path));
    QUERN_TRY(json, format == SourceFormat::kQuern ? describe_quern(path, tensors)
                                                   : describe_foreign(path, tensors));
    return formats::dump_json(json, 2);
  });
}

}  // namespace quern::convert
