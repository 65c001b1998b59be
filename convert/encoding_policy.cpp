#include "convert/encoding_policy.h"

#include <algorithm>
#include <iterator>

#include "formats/gguf_types.h"
#include "quant/registry.h"

namespace quern::convert {
namespace {

/// What GGUF needs to know beyond the encodings' own table: what takes the place of a block that
/// the rows do not divide into, and the number of `general.file_type` (ggml's llama_ftype).
struct GgufRow {
  Encoding encoding;
  Encoding fallback;
  std::uint32_t file_type;
};

constexpr GgufRow kGgufRows[] = {
    {Encoding::kF32, Encoding::kF32, 0},        {Encoding::kF16, Encoding::kF16, 1},
    {Encoding::kBF16, Encoding::kBF16, 32},     {Encoding::kQ4_0, Encoding::kF16, 2},
    {Encoding::kQ4_1, Encoding::kF16, 3},       {Encoding::kQ5_0, Encoding::kF16, 8},
    {Encoding::kQ5_1, Encoding::kF16, 9},       {Encoding::kQ8_0, Encoding::kF16, 7},
    {Encoding::kQ2_K, Encoding::kQ4_0, 10},     {Encoding::kQ3_K, Encoding::kQ4_0, 12},
    {Encoding::kQ4_K, Encoding::kQ5_0, 15},     {Encoding::kQ5_K, Encoding::kQ5_1, 17},
    {Encoding::kQ6_K, Encoding::kQ8_0, 18},     {Encoding::kIQ4_NL, Encoding::kF16, 25},
    {Encoding::kIQ4_XS, Encoding::kIQ4_NL, 30}, {Encoding::kMXFP4, Encoding::kF16, 38},
};

/// Presets by bits.
struct Preset {
  std::string_view name;
  Encoding encoding;
};
constexpr Preset kPresets[] = {
    {"q8", Encoding::kQR8}, {"q6", Encoding::kQR6}, {"q5", Encoding::kQR5},
    {"q4", Encoding::kQR4}, {"q3", Encoding::kQR3},
};

const GgufRow* find_row(Encoding encoding) noexcept {
  for (const GgufRow& row : kGgufRows) {
    if (row.encoding == encoding) return &row;
  }
  return nullptr;
}

bool can_encode(Encoding encoding) noexcept {
  const quant::EncodingOps* ops = quant::find_ops(encoding);
  return ops != nullptr && ops->quantize_panel != nullptr;
}

std::string name_of(Encoding encoding) { return std::string(find_encoding(encoding)->name); }

/// Names that `--encoding` takes, for the error.
std::string known_names(OutputFormat output) {
  std::string text = "keep";
  for (const Preset& preset : kPresets) {
    if (output == OutputFormat::kQuern) text += " " + std::string(preset.name);
  }
  for (const auto* info = encodings_begin(); info != encodings_end(); ++info) {
    if (!info->weight || !can_encode(info->id)) continue;
    if (output == OutputFormat::kGguf && find_row(info->id) == nullptr) continue;
    text += " " + std::string(info->name);
  }
  return text;
}

Error bad_encoding(std::string message, std::string_view found, OutputFormat output) {
  return Error(ErrorCode::kUnsupported, std::move(message))
      .of("encoding")
      .want("one of " + known_names(output))
      .got(std::string(found.substr(0, 40)));
}

}  // namespace

OutputFormat output_format(std::string_view path) noexcept {
  constexpr std::string_view kSuffix = ".gguf";
  if (path.size() < kSuffix.size()) return OutputFormat::kQuern;
  const auto tail = path.substr(path.size() - kSuffix.size());
  for (std::size_t i = 0; i < kSuffix.size(); ++i) {
    const char c = tail[i] >= 'A' && tail[i] <= 'Z' ? static_cast<char>(tail[i] + 32) : tail[i];
    if (c != kSuffix[i]) return OutputFormat::kQuern;
  }
  return OutputFormat::kGguf;
}

bool is_quantized(Encoding encoding) noexcept {
  return find_encoding(encoding)->rows != RowFormat::kF32;
}

bool is_preset(std::string_view name) noexcept {
  return std::any_of(std::begin(kPresets), std::end(kPresets),
                     [&](const Preset& preset) { return preset.name == name; });
}

Result<EncodingPolicy> parse_encoding(std::string_view name, OutputFormat output) {
  if (name == "keep") return EncodingPolicy{};
  EncodingPolicy policy{.keep = false};
  const EncodingInfo* info = find_encoding(name);
  for (const Preset& preset : kPresets) {
    if (preset.name == name) info = find_encoding(preset.encoding);
  }
  if (info == nullptr) return bad_encoding("there is no encoding of this name", name, output);
  if (!info->weight) return bad_encoding("weights cannot be stored as integers", name, output);
  if (output == OutputFormat::kGguf && find_row(info->id) == nullptr) {
    return bad_encoding("GGUF has no such encoding", name, output);
  }
  policy.target = info->id;
  return policy;
}

Result<EncodingChoice> choose_encoding(const EncodingPolicy& policy, Encoding source,
                                       std::int64_t cols, OutputFormat output) {
  EncodingChoice choice{policy.keep ? source : policy.target, {}};
  if (output == OutputFormat::kGguf) {
    if (find_row(choice.encoding) == nullptr) {
      return bad_encoding("the model's own encoding does not exist in GGUF; choose one",
                          name_of(choice.encoding), output);
    }
    const Encoding asked = choice.encoding;
    while (cols % find_encoding(choice.encoding)->k_multiple != 0) {
      choice.encoding = find_row(choice.encoding)->fallback;
    }
    if (choice.encoding != asked) {
      choice.note = "rows of " + std::to_string(cols) + " elements are no whole blocks of " +
                    name_of(asked) + ": stored as " + name_of(choice.encoding);
    }
  }
  if (choice.encoding != source && !can_encode(choice.encoding)) {
    return bad_encoding("quern reads this encoding but cannot make it", name_of(choice.encoding),
                        output);
  }
  return choice;
}

std::uint32_t gguf_file_type(Encoding encoding) noexcept {
  const GgufRow* row = find_row(encoding);
  return row == nullptr ? 0 : row->file_type;
}

}  // namespace quern::convert
