#include "convert/source_model.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/mapped_file.h"
#include "formats/quern_layout.h"
#include "formats/safetensors_reader.h"

namespace quern::convert {

const SourceTensor* SourceModel::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const SourceTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at == tensors_.end() || at->name != name ? nullptr : &*at;
}

void SourceModel::set_tensors(std::vector<SourceTensor> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const SourceTensor& a, const SourceTensor& b) { return a.name < b.name; });
  tensors_ = std::move(tensors);
}

namespace {

/// How many letters must be changed, added or left out to make `b` of `a` (Levenshtein).
std::size_t letters_between(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t k = 0; k < b.size(); ++k) {
      const std::size_t changed = diagonal + (a[i] == b[k] ? 0 : 1);
      diagonal = row[k + 1];
      row[k + 1] = std::min({changed, row[k] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

Error unknown_architecture(const std::string& file, std::string_view found) {
  constexpr std::size_t kNamed = 4, kLongest = 128;
  std::set<std::string_view> known;
  for (const models::Architecture* architecture : models::all_architectures()) {
    known.insert(architecture->hf_classes.begin(), architecture->hf_classes.end());
    known.insert(architecture->gguf_names.begin(), architecture->gguf_names.end());
  }
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const std::string_view name : known)
    near.emplace_back(letters_between(found.substr(0, kLongest), name), name);
  std::sort(near.begin(), near.end());
  std::string nearest;
  for (std::size_t i = 0; i < std::min(kNamed, near.size()); ++i)
    nearest += (i > 0 ? ", " : "") + std::string(near[i].second);
  return Error(ErrorCode::kUnsupported, "quern does not know this architecture")
      .in_file(file)
      .of("architecture")
      .want("one of " + std::to_string(known.size()) + " names, the nearest being " + nearest)
      .got(formats::quote(found));
}

Result<SourceFormat> sniff_source(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) return SourceFormat::kDirectory;
  QUERN_TRY(file, formats::MappedFile::open(path));
  const auto bytes = file.bytes();
  const auto text = formats::as_text(bytes.first(std::min<std::size_t>(bytes.size(), 64)));
  if (text.starts_with(formats::kQuernMagic)) return SourceFormat::kQuern;
  if (text.starts_with("GGUF")) return SourceFormat::kGguf;
  const auto foreign = formats::foreign_magic(bytes);
  if (!foreign.empty()) {
    return Error(ErrorCode::kUnsupported, "quern never reads this kind of file")
        .in_file(path)
        .at(0)
        .want("a .quern, GGUF, safetensors or tokenizer.json file, or a checkpoint directory")
        .got(std::string(foreign));
  }
  // safetensors: the header's length, then its JSON.
  if (text.size() > 8 && text[8] == '{') return SourceFormat::kSafetensors;
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    return path.ends_with(".index.json") ? SourceFormat::kSafetensors
                                         : SourceFormat::kTokenizerJson;
  }
  return Error(ErrorCode::kUnsupported, "the file is of no kind that quern reads")
      .in_file(path)
      .at(0)
      .want("a .quern, GGUF, safetensors or tokenizer.json file, or a checkpoint directory")
      .got(formats::quote(text.substr(0, 16)));
}

Result<SourcePointer> open_source(const std::string& path, bool vocabulary_only) {
  QUERN_TRY(format, sniff_source(path));
  switch (format) {
    case SourceFormat::kQuern:
      return open_quern_source(path);
    case SourceFormat::kGguf:
      return open_gguf_source(path, vocabulary_only);
    case SourceFormat::kTokenizerJson:
      return open_tokenizer_source(path);
    default:
      return open_huggingface_source(path, vocabulary_only);
  }
}

}  // namespace quern::convert
