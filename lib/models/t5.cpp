// T5 (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
// Transformer"), T5 1.1 and Flan-T5 (Shazeer 2020, "GLU Variants Improve Transformer"), mT5 and
// UMT5 (Chung et al. 2023), whose layers each have a relative bias of their own.
#include "models/t5.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "t5";

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = t5_tensors(true);
  return kRules;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_t5_config(source, kind, kGguf, true));
  config.set("architecture", std::string("t5"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) { return write_t5_config(config, kGguf); }

}  // namespace

extern const Architecture kT5;
const Architecture kT5 = {"t5",
                          {"T5ForConditionalGeneration", "MT5ForConditionalGeneration",
                           "UMT5ForConditionalGeneration", "T5WithLMHeadModel"},
                          {kGguf},
                          read_config,
                          write_gguf_config,
                          tensors,
                          build_target_of<t5_layout>,
                          {},
                          build_source_of<t5_layout>};

}  // namespace quern::models
