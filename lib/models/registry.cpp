#include <algorithm>
#include <array>

#include "models/architecture.h"

namespace quern::models {

// One line per architecture, defined in the file of its name.
extern const Architecture kLlama;
extern const Architecture kQwen2;
extern const Architecture kQwen3;
extern const Architecture kGemma;
extern const Architecture kGemma2;
extern const Architecture kGemma3;
extern const Architecture kGemma3Encoder;
extern const Architecture kGemma3n;
extern const Architecture kGpt2;
extern const Architecture kGptj;
extern const Architecture kGptNeox;
extern const Architecture kGptBigcode;
extern const Architecture kStarcoder2;
extern const Architecture kGranite;
extern const Architecture kPhi;
extern const Architecture kPhi3;
extern const Architecture kOlmo2;
extern const Architecture kFalcon;
extern const Architecture kMpt;
extern const Architecture kBloom;
extern const Architecture kOpt;
extern const Architecture kStablelm;
extern const Architecture kCohere;
extern const Architecture kCohere2;
extern const Architecture kSmollm3;
extern const Architecture kGlm4;
extern const Architecture kNemotron;
extern const Architecture kExaone4;
extern const Architecture kErnie45;
extern const Architecture kHunyuanDense;
extern const Architecture kSeedOss;
extern const Architecture kMixtral;
extern const Architecture kQwen2Moe;
extern const Architecture kQwen3Moe;
extern const Architecture kOlmoe;
extern const Architecture kGranitemoe;
extern const Architecture kGptOss;
extern const Architecture kLfm2;
extern const Architecture kMamba;
extern const Architecture kMamba2;
extern const Architecture kGranitemoehybrid;
extern const Architecture kDeepseekV2;
extern const Architecture kDeepseekV3;
extern const Architecture kBert;
extern const Architecture kRoberta;
extern const Architecture kDistilBert;
extern const Architecture kElectra;
extern const Architecture kMpNet;
extern const Architecture kDebertaV2;
extern const Architecture kModernBert;
extern const Architecture kNomicBert;
extern const Architecture kT5;
extern const Architecture kT5Encoder;
extern const Architecture kBart;
extern const Architecture kBartClassifier;

namespace {

// Of two with one GGUF name the marked one comes first.
constexpr std::array kAll = {
    &kMixtral,    &kLlama,      &kQwen2,      &kQwen3,         &kGemma,
    &kGemma2,     &kGemma3,     &kGemma3n,    &kGpt2,          &kGptj,
    &kGptNeox,    &kGptBigcode, &kStarcoder2, &kGranite,       &kPhi,
    &kPhi3,       &kOlmo2,      &kFalcon,     &kMpt,           &kBloom,
    &kOpt,        &kStablelm,   &kCohere,     &kCohere2,       &kSmollm3,
    &kGlm4,       &kNemotron,   &kExaone4,    &kErnie45,       &kHunyuanDense,
    &kSeedOss,    &kQwen2Moe,   &kQwen3Moe,   &kOlmoe,         &kGranitemoe,
    &kGptOss,     &kLfm2,       &kMamba,      &kMamba2,        &kGranitemoehybrid,
    &kDeepseekV3, &kDeepseekV2, &kBert,       &kRoberta,       &kDistilBert,
    &kElectra,    &kMpNet,      &kDebertaV2,  &kModernBert,    &kNomicBert,
    &kT5,         &kT5Encoder,  &kBart,       &kBartClassifier, &kGemma3Encoder};

template <class Matches>
const Architecture* find(Matches matches) noexcept {
  const auto it =
      std::find_if(kAll.begin(), kAll.end(), [&](const Architecture* a) { return matches(*a); });
  return it == kAll.end() ? nullptr : *it;
}

bool contains(const std::vector<std::string_view>& names, std::string_view name) noexcept {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::span<const Architecture* const> all_architectures() noexcept { return kAll; }

const Architecture* find_architecture(std::string_view canonical) noexcept {
  return find([&](const Architecture& a) { return a.name == canonical; });
}

const Architecture* find_by_hf_class(std::string_view class_name) noexcept {
  return find([&](const Architecture& a) { return contains(a.hf_classes, class_name); });
}

namespace {

/// As Architecture::gguf_mark says.
bool is_marked(const Config& metadata, std::string_view mark) noexcept {
  if (mark.empty()) return true;
  const std::size_t equals = mark.find('=');
  const ConfigValue* value = metadata.find(mark.substr(0, equals));
  const auto* number = value == nullptr ? nullptr : std::get_if<std::int64_t>(value);
  if (number == nullptr) return false;
  return equals == std::string_view::npos ? *number != 0 : *number == mark[equals + 1] - '0';
}

}  // namespace

const Architecture* find_by_gguf_name(std::string_view name, const Config& metadata) noexcept {
  return find([&](const Architecture& a) {
    return contains(a.gguf_names, name) && is_marked(metadata, a.gguf_mark);
  });
}

}  // namespace quern::models
