// The encoder of T5 alone, as embedding models and image generators keep it.
#include "models/t5.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "t5encoder";

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_t5_config(source, kind, kGguf, false));
  config.set("architecture", std::string("t5_encoder"));
  for (const char* head : {"head.masked_lm", "head.sequence", "head.tokens"})
    config.set(head, false);
  return config;
}

Result<Config> write_gguf_config(const Config& config) { return write_t5_config(config, kGguf); }

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = t5_tensors(false);
  return kRules;
}

}  // namespace

extern const Architecture kT5Encoder;
const Architecture kT5Encoder = {"t5_encoder",
                                 {"T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"},
                                 {kGguf},
                                 read_config,
                                 write_gguf_config,
                                 tensors,
                                 build_source_of<t5_layout>};

}  // namespace quern::models
